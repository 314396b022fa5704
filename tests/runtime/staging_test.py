"""Exports and imports that are killed, and links that lead elsewhere."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax import interop
from crnn_jax.analysis import robustness
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError
from crnn_jax.interop import imported_run
from crnn_jax.interop import safetensors as safetensors_lib
from crnn_jax.runs import mid_epoch, trackers
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files as disk
from crnn_jax.runtime import staging
from tests.helpers.fixtures import MakeConfig

ROOT = Path(__file__).resolve().parents[2]
OLD = {"sub/a": b"old a", "b": b"old b", "done": b"old"}
NEW = {"sub/a": b"new a", "b": b"new b", "done": b"new"}


def contents(folder: Path) -> dict[Any, Any]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


KILLED = """
import os, pathlib, signal, sys
from crnn_jax.runtime import staging
work, old = pathlib.Path(sys.argv[1]), sys.argv[2] == "old"
OLD, NEW = ({"sub/a": b"%s a" % v, "b": b"%s b" % v, "done": v} for v in (b"old", b"new"))
for kill_at in range(1, 200):
    folder = work / str(kill_at)
    if old:
        staging.replace_files(folder, OLD, "done")
        (folder / "mine").write_bytes(b"mine")
    child = os.fork()
    if not child:
        left = kill_at
        def hook(event, _):
            global left
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        staging.replace_files(folder, NEW, "done")
        os._exit(0)
    if not os.waitpid(child, 0)[1]:
        break
with_staging = staging.directory(work / "directory")
if not os.fork():
    (with_staging.__enter__() / "x").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"""


@pytest.mark.parametrize("old", [None, OLD])
def test_files_that_a_kill_cut_off_are_written_by_the_same_call(tmp_path: Path, old: Any) -> None:
    """Killed before each system call in turn; a process without jax forks quickly."""
    arguments: list[str | Path] = [sys.executable, "-c", KILLED, tmp_path, "old" if old else "new"]
    subprocess.run(arguments, check=True, cwd=ROOT, timeout=100)
    (tmp_path / f"directory{staging.SUFFIX}" / "x").unlink()
    with staging.directory(tmp_path / "directory") as folder:
        assert not list(folder.iterdir())
    (tmp_path / "directory").rmdir()
    folders = sorted(tmp_path.iterdir(), key=lambda p: int(p.name))
    assert len(folders) > 15
    mine = {"mine": b"mine"} if old else {}
    cut_off = 0
    for folder in folders:
        found = {k: v for k, v in contents(folder).items() if staging.SUFFIX not in k}
        if (folder / "done").exists():  # complete, before or after
            assert found in ({**(old or {}), **mine}, {**NEW, **mine})
        else:
            assert staging.is_free(folder)
            cut_off += 1
        staging.replace_files(folder, NEW, "done")
        assert contents(folder) == {**NEW, **mine}
        assert not any(staging.SUFFIX in p.name for p in folder.iterdir())
    assert cut_off > 3


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("failing", range(3))
def test_a_full_disk_leaves_the_files_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, old: Any
) -> None:
    folder, write, calls = tmp_path / "a", disk.write, []
    if old:
        staging.replace_files(folder, old, "done")

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > failing:
            raise RunError(f"{path} cannot be written: full")
        write(path, content)

    with monkeypatch.context() as context:
        context.setattr(disk, "write", full)
        with pytest.raises(RunError, match="full"):
            staging.replace_files(folder, NEW, "done")
    assert contents(folder) == old if old else not folder.exists()
    staging.replace_files(folder, NEW, "done")
    assert contents(folder) == NEW


def test_a_directory_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with staging.directory(tmp_path / "a") as folder:
            (folder / "x").write_bytes(b"x")
            raise RunError("it cannot go on")

    with pytest.raises(RunError, match="it cannot go on"):
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / f"a{staging.SUFFIX}" / "left").mkdir(parents=True)  # left by a kill
    (tmp_path / "a.partial").mkdir()  # of another program
    with staging.directory(tmp_path / "a") as folder:
        assert not list(folder.iterdir())
        (folder / "y").write_bytes(b"y")
        with pytest.raises(RunError, match="another process is writing"):
            staging.directory(tmp_path / "a").__enter__()
    assert contents(tmp_path) == {"a/y": b"y"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.partial"]


def test_a_taken_directory_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "empty")
    for name in ("full", "file", "link", "dangling", "file/below", "empty", "empty/.", "a" * 300):
        with pytest.raises(RunError, match=name.partition("/")[0]) as error:
            staging.directory(tmp_path / name).__enter__()
        assert "\n" not in str(error.value)
    with pytest.raises(RunError, match="current directory"):
        staging.directory(".").__enter__()
    monkeypatch.chdir(tmp_path)
    with staging.directory(tmp_path / "empty"):
        pass


def test_an_import_that_fails_blocks_no_other(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interop.export(trained, "safetensors", tmp_path / "out").parent
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "mine").write_bytes(b"mine")

    def fail(*_: Any, **__: Any) -> None:
        raise RunError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(Checkpoints, "save", fail)
        with pytest.raises(RunError, match="the disk is full"):
            safetensors_lib.import_run(folder, tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run.partial"]
    (tmp_path / f"run{staging.SUFFIX}" / "checkpoints").mkdir(parents=True)  # left by a kill
    safetensors_lib.import_run(folder, tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run", "run.partial"]
    assert contents(tmp_path / "run.partial") == {"mine": b"mine"}
    np.testing.assert_array_equal(
        crnn_jax.load(tmp_path / "run").params["Conv1"]["bias"],
        crnn_jax.load(trained).params["Conv1"]["bias"],
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that must not change; checked at the end."""
    folder = tmp_path / "elsewhere"
    (folder / "sub").mkdir(parents=True)
    for name in ("reader.json", "events.out.tfevents.1", "sub/x", "README.md"):
        (folder / name).write_bytes(b"mine")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["export", "export/safetensors", "export/safetensors/unfinished"])
def test_an_export_does_not_follow_links_out_of_the_run(
    trained: Path, tmp_path: Path, elsewhere: Path, tiny_config: MakeConfig, name: str
) -> None:
    config = tiny_config()
    reader = crnn_jax.load(trained)
    params = jax.tree.map(np.asarray, reader.params)
    imported_run.write(
        tmp_path / "run", reader.config, reader.charset,
        Normalization((0.0,), (255.0,), False),
        params, "", config.data.dir,
    )  # fmt: skip
    suffix = staging.SUFFIX if name.endswith("unfinished") else ""
    link = tmp_path / "run" / f"{name}{suffix}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(
        RunError, match=rf"{link} is a symbolic link|is not empty and not an export"
    ):
        interop.export(tmp_path / "run", "safetensors")
    link.unlink()
    folder = interop.export(tmp_path / "run", "safetensors").parent
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(elsewhere / "README.md")  # will be replaced
    interop.export(tmp_path / "run", "safetensors")
    assert not (folder / "README.md").is_symlink()


def test_files_do_not_follow_a_link_on_their_way(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "sub").symlink_to(elsewhere / "sub")
    with pytest.raises(RunError, match="sub is a symbolic link"):
        staging.replace_files(tmp_path, NEW, "done")


def test_nothing_below_a_run_is_written_through_a_link(tmp_path: Path, elsewhere: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.workdir.mkdir()
    for name in ("checkpoints", mid_epoch.FOLDER, "tensorboard", "robustness"):
        (run.workdir / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match="checkpoints is a symbolic link"):
        Checkpoints(run.checkpoints)
    (run.workdir / "checkpoints").unlink()
    run.checkpoints.mkdir()
    (run.checkpoints / "1").symlink_to(elsewhere)
    with pytest.raises(RunError, match="checkpoints/1 is a symbolic link"):
        Checkpoints(run.checkpoints)
    with pytest.raises(RunError, match="interrupted is a symbolic link"):
        mid_epoch.save(run, 1, {}, {})
    before = sorted(elsewhere.iterdir())
    mid_epoch.clear(run)  # removes the link and not its target
    assert not (run.workdir / mid_epoch.FOLDER).is_symlink()
    assert sorted(elsewhere.iterdir()) == before
    pytest.importorskip("tensorboardX")
    with pytest.raises(RunError, match="tensorboard is a symbolic link"):
        trackers.mirror(run, ("tensorboard",)).__enter__()
    with pytest.raises(RunError, match="robustness is a symbolic link"):
        robustness.report(run.workdir, None, None, 1, 0, None)


def test_a_card_shows_names_as_they_are(trained: Path, tmp_path: Path) -> None:
    path = interop.export(trained, "safetensors", tmp_path / "out").parent / "reader.json"
    description = json.loads(path.read_text())
    description["result"]["data_name"] = "a` ![x](http://y/z) <b>\n# c"
    card = safetensors_lib.card(description)
    assert r"a\` \!\[x\](http&#58;//y/z) &lt;b&gt;\\n\# c (fingerprint" in card
