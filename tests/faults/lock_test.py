"""One writer for a run directory."""

import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from crnn_jax import config as config_lib
from crnn_jax.data import resolve
from crnn_jax.errors import RunError
from crnn_jax.runs import grid as grids
from crnn_jax.runs import launch, mid_epoch, run_dir, sweep
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runtime import files, held, lock
from crnn_jax.training import train
from crnn_jax.training.progress import Progress
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET

HOLD = """
import sys, pathlib
from crnn_jax.runtime import lock
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder: Path) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_and_told_who_the_first_is(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    run = tmp_path / "run"
    config = tiny_config()
    run_dir.RunDir(run).open(resolve.resolve(config))  # a run directory without training
    with _holder(run) as process:
        who = f"process {process.pid} on {platform.node()}"
        with pytest.raises(RunError, match=rf"{run} is in use by {who}; .*--workdir"):
            train.train_and_evaluate(config, run)
        cells = grids.Grid(config_lib.to_dict(config), {"base": {}}, (0,), (0,))
        with pytest.raises(RunError, match=who):
            sweep.run(cells, run, 1)
        assert not (run / "environment.json").exists()  # nothing was written
        assert lock.is_held(run)
        process.kill()
    assert not lock.is_held(run)
    assert not lock.is_held(tmp_path / "nowhere")
    with lock.hold(run):  # the holder is dead
        assert (run / lock.FILE).read_text() == f"process {os.getpid()} on {platform.node()}\n"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/run/lock cannot be written"),
        lock.hold(tmp_path / "file" / "run"),
    ):
        pass


def _swap(run: Path, how: Any) -> None:
    if how == "renamed":
        run.rename(run.with_name("moved"))
    else:
        shutil.rmtree(run)
    if how != "removed":
        run.mkdir()


WRITES = {
    "json": lambda run: run_dir.RunDir(run).write_json("result.json", {}),
    "line": lambda run: run_dir.RunDir(run).append_metrics({"step": 1}),
    "removal": lambda run: mid_epoch.clear(run_dir.RunDir(run)),
    "room": lambda run: files.check_room(run / "checkpoints" / "1", 1),
    "folder": lambda run: files.make_folder(run / "cell"),
    "checkpoint": lambda run: _save(run, 1),
}


def _save(run: Path, epoch: int) -> None:
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(epoch, {"a": np.ones(2)}, None, {"best_epoch": epoch}, epoch)


@pytest.mark.parametrize("how", ["removed", "replaced", "renamed"])
@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_to_a_directory_that_was_replaced(
    tmp_path: Path, how: str, write: str
) -> None:
    run = tmp_path / "run"
    with lock.hold(run):
        run_dir.RunDir(run).write_json("config.json", {})
        _swap(run, how)
        with pytest.raises(RunError, match=f"{run} was removed or replaced while"):
            WRITES[write](run)
    assert not run.exists() if how == "removed" else not list(run.iterdir())


def test_the_lock_file_alone_may_not_vanish_either(tmp_path: Path) -> None:
    """Otherwise another process could lock a new file, and both would write."""
    with lock.hold(tmp_path / "run"):
        (tmp_path / "run" / lock.FILE).unlink()
        with pytest.raises(RunError, match="removed or replaced"):
            held.check(tmp_path / "run" / "a")


def test_a_checkpoint_that_was_being_written_does_not_join_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is replaced after the last check before the save."""
    run = tmp_path / "run"
    with lock.hold(run):
        _save(run, 1)
        real = files.check_room

        def check_room(*arguments: Any) -> None:
            real(*arguments)
            _swap(run, "replaced")
            (run / "checkpoints").mkdir()

        monkeypatch.setattr(files, "check_room", check_room)
        with pytest.raises(RunError, match="removed or replaced"):
            _save(run, 2)
    assert [p.name for p in run.rglob("*")] == ["checkpoints"]


def test_a_run_whose_directory_was_replaced_stops(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = tiny_config({**QUIET, "train.epochs": 3}), tmp_path / "run"
    monkeypatch.setattr(Progress, "steps", lambda *_: run.exists() and _swap(run, "removed"))
    with pytest.raises(RunError, match="removed or replaced"):
        train.train_and_evaluate(config, run)
    assert not run.exists()


def test_of_processes_that_start_together_one_wins(tmp_path: Path) -> None:
    """The directory does not exist yet. The kernel locks open files."""
    for i in range(20):
        run, start, told = tmp_path / f"{i}" / "run", threading.Barrier(3), threading.Barrier(3)
        said: list[Any] = []

        def take(run: Path = run, start: Any = start, told: Any = told, said: Any = said) -> None:
            start.wait()
            try:
                with lock.hold(run):
                    run_dir.RunDir(run).write_json("config.json", {})
                    said.append("won")
                    told.wait(30)
            except RunError as error:
                said.append(str(error))
                told.wait(30)

        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = f"{run} is in use by process {os.getpid()} on {platform.node()}; wait"
        assert sorted(line.startswith(refused) for line in said) == [False, True, True]
        assert "won" in said


def test_nothing_is_written_before_the_lock_is_held(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with _holder(run) as process:
        with pytest.raises(RunError, match=f"in use by process {process.pid} on"):
            train.train_and_evaluate(tiny_config(), run)
        assert [p.name for p in run.iterdir()] == [lock.FILE]
        process.kill()


def test_a_start_that_fails_leaves_no_directory(tiny_config: MakeConfig, tmp_path: Path) -> None:
    """The corrected command can use the same --workdir."""
    config = tiny_config(train__init_from=str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="nowhere is not a run directory"):
        train.train_and_evaluate(config, tmp_path / "a" / "run")
    assert not (tmp_path / "a").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(RunError, match=r"not a run directory \(it contains mine.txt"):
        train.train_and_evaluate(tiny_config(), tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["mine.txt"]


def test_a_grid_whose_directory_was_replaced_stops(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = grids.Grid(config_lib.to_dict(tiny_config()), {"base": {}}, (0,), (0,))
    workdir = tmp_path / "grid"

    def start(self: Any, tasks: dict[int, launch.Task]) -> Any:
        _swap(workdir, "replaced")
        return {slot: mock.Mock(**{"poll.return_value": 0}) for slot in tasks}

    monkeypatch.setattr(launch.Local, "start", start)
    with pytest.raises(RunError, match="removed or replaced"):
        sweep.run(cells, workdir, 1)
    assert not list(workdir.iterdir())
