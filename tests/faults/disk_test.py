"""Disks that are full or read-only: existing files stay intact, and the error names the path.

Here system errors are simulated, at each write in turn. `python -m tests.faults.long` uses a small
disk that is really full.
"""

import contextlib
import errno
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from crnn_jax import config as config_lib
from crnn_jax.cli import evaluate, main
from crnn_jax.errors import CrnnError, RunError
from crnn_jax.runs import checkpoint, opening, run_dir, sweep
from crnn_jax.runs import grid as grids
from crnn_jax.runtime import files as disk
from crnn_jax.runtime import limits, lock
from crnn_jax.training import train
from tests.faults import commands
from tests.helpers.failing import failing, no_space
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET, TRAINED

FULL = no_space()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disk") / "run"


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["checkpoints.json", "epoch 2", "metrics.jsonl +", "result.json"], id="some"),
        pytest.param(None, id="all", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_at_each_write_of_a_run(
    tiny_config: MakeConfig,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: list[str] | None,
) -> None:
    """Each write fails once; the same command continues, and the run ends as if none had failed."""
    config = tiny_config({**QUIET, "train.epochs": 3, "log.every_steps": 2})
    if not whole.exists():
        train.train_and_evaluate(config, whole)
    run, failed = tmp_path / "run", []

    def fails(place: Any) -> bool:
        if place in failed or (places is not None and place not in places):
            return False
        failed.append(place)
        return True

    real_write, real_append = disk.write, disk.append

    def write(path: Path, content: bytes) -> None:
        if fails(path.name):
            raise disk.unwritable(path, FULL)
        real_write(path, content)

    def append(path: Path, content: bytes) -> None:
        if fails(f"{path.name} +"):
            real_append(path, content[: len(content) // 2])  # as after a kill midway
            raise disk.unwritable(path, FULL)
        real_append(path, content)

    save = ocp.save_checkpointables

    def save_or_fail(path: Path, *rest: Any, **keywords: Any) -> Any:
        if fails(f"epoch {path.stem}"):
            raise FULL
        return save(path, *rest, **keywords)

    monkeypatch.setattr(disk, "write", write)
    monkeypatch.setattr(disk, "append", append)
    monkeypatch.setattr(ocp, "save_checkpointables", save_or_fail)
    said: list[Any] = []
    while len(said) < 30:
        with contextlib.suppress(RunError):
            train.train_and_evaluate(config, run)
            break
        said.append(failed[-1])
    # Once for each place: config, environment, params, metrics (truncated, appended),
    # digests, epochs 1 to 3, readings, errors, result.
    assert said == failed
    assert len(said) == len(set(said)) == (len(places) if places else 12)
    assert commands.outcome(run) == commands.outcome(whole)


def test_a_checkpoint_that_cannot_be_written_is_named_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"a": np.arange(3, dtype=np.float32)}
    with checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, params, None, {"best_epoch": 1}, 1)
        monkeypatch.setattr(ocp, "save_checkpointables", failing(FULL))
        with pytest.raises(
            RunError,
            match=r"^the checkpoint \S+/checkpoints/2 cannot be written: the disk is full",
        ):
            checkpoints.save(2, params, None, {"best_epoch": 2}, 2)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.meta(checkpoints.latest_epoch() or 0) == {"best_epoch": 1}
        restored = checkpoints.restore(1, {"params": params})["params"]["a"]
    np.testing.assert_array_equal(restored, params["a"])


def test_a_finished_run_on_a_disk_that_cannot_be_written_says_so(
    trained: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_dir.RunDir(trained).config()
    monkeypatch.setattr(disk, "write", failing(FULL))
    assert train.train_and_evaluate(config, trained) == run_dir.RunDir(trained).result()


def test_a_grid_names_what_it_cannot_write(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = grids.Grid(config_lib.to_dict(tiny_config()), {"base": {}}, (0,), (0,))
    monkeypatch.setattr(sweep.files, "opened", _named(sweep.files.opened, "log.txt"))
    with pytest.raises(RunError, match=r"base/seed0-fold0/log\.txt cannot be written: No space"):
        sweep.run(cells, tmp_path / "grid", 1)


def _named(real: Any, name: str) -> Any:
    def opened(path: Path) -> Any:
        if path.name == name:
            raise disk.unwritable(path, FULL)
        return real(path)

    return opened


def test_an_output_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fallback of both entry points: an error with a path, or that of standard output."""
    named = OSError(errno.EROFS, "Read-only file system", "/some/where")
    monkeypatch.setattr(evaluate, "evaluate", failing(named))
    assert main.main(["evaluate", "run"]) == 2
    assert capsys.readouterr().err == "error: /some/where: Read-only file system\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "a file could not be read or written: Input/"),
        (OSError(errno.EBADF, "Bad file"), "a file could not be read or written: Bad file"),
        (OSError(errno.ENOSPC, "No space left"), "a file could not be read or written: No space"),
        (OSError("odd\nline"), r"the system reports: odd\nline"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "the system reports: reset"),
        (OSError(), "the system reports: OSError"),
    ],
)
def test_an_error_that_names_no_file_is_one_line_and_blames_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Any, said: str
) -> None:
    """`close` does not report its file, which need not be standard output."""
    monkeypatch.setattr(evaluate, "evaluate", failing(error))
    assert main.main(["evaluate", "run"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert shown.count("\n") == 1
    assert "standard output" not in shown


def test_an_error_that_names_no_file_names_the_run_that_it_stopped(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    error = OSError(errno.EIO, "Input/output error")
    run = run_dir.RunDir(tmp_path / "run")
    with (
        pytest.raises(RunError, match=rf"^the run {tmp_path}/run was stopped: .*output error$"),
        opening.take(run, tiny_config()),
    ):
        raise error
    with pytest.raises(OSError, match="elsewhere"), opening.take(run, tiny_config()):
        raise OSError(errno.EIO, "Input/output error", "/elsewhere")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("verb", ["predict", "run.py"])
def test_a_full_standard_output_is_one_line(trained: Path, captchas: Path, verb: str) -> None:
    import subprocess
    from pathlib import Path

    picture = sorted(captchas.iterdir())[0]
    if verb == "predict":
        command = ["-m", "crnn_jax", "predict", str(trained), str(picture)]
    else:
        command = ["run.py", "--config", "experiments/tiny.py", f"--config.data.dir={captchas}",
                   "--workdir", str(trained)]  # fmt: skip
        command += [f"--config.{key}={value}" for key, value in TRAINED.items()]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *command], cwd=Path(__file__).parents[2],
                              stdout=full, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert done.returncode in (1, 2)
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


def test_a_low_limit_on_open_files_is_raised_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    for soft, hard, then in [(256, 8192, (4096, 8192)), (20, 1024, (1024, 1024))]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, both=(soft, hard): both)
        limits.raise_open_files()
        assert asked.pop() == then
    for low in (8, 12, 32):
        monkeypatch.setattr(resource, "getrlimit", lambda _, low=low: (low, low))
        with pytest.raises(CrnnError, match=rf"can have {low} files.*ulimit -n 1024`$"):
            limits.raise_open_files()
    monkeypatch.undo()
    limits.check_open_files("a cannot be read", 3)


def test_a_run_directory_whose_name_is_not_utf8(tmp_path: Path) -> None:
    """tensorstore accepts only UTF-8 names; it sees a descriptor instead."""
    folder = tmp_path / os.fsdecode(b"w\xff") / "checkpoints"
    params = {"a": np.arange(3, dtype=np.float32)}
    with lock.hold(folder.parent), checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save(1, params, None, {"best_epoch": 1}, 1)
    with checkpoint.Checkpoints(folder, read_only=True) as checkpoints:
        restored = checkpoints.restore(1, {"params": params})["params"]["a"]
    np.testing.assert_array_equal(restored, params["a"])
