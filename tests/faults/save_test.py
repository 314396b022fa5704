"""Saves and removals that fail or are killed midway: a checkpoint is complete or absent."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.errors import RunError
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runtime import files
from tests.faults import disks
from tests.faults.commands import ROOT


def _params(epoch: int) -> dict[str, Any]:
    return {"a": np.full(4, epoch, np.float32)}


def _save(folder: Path, *epochs: Any) -> None:
    with Checkpoints(folder) as checkpoints:
        for epoch in epochs:
            checkpoints.save(epoch, _params(epoch), None, {"best_epoch": epoch}, epoch)


def _read(folder: Path) -> Any:
    """Returns the epochs, after checking that each contains what was saved."""
    with Checkpoints(folder, read_only=True) as checkpoints:
        for epoch in checkpoints.epochs():
            assert checkpoints.meta(epoch) == {"best_epoch": epoch}
            found = checkpoints.restore(epoch, {"params": _params(0)})["params"]["a"]
            np.testing.assert_array_equal(found, _params(epoch)["a"])
        return checkpoints.epochs()


def _names(folder: Path) -> list[Any]:
    return sorted(p.name for p in folder.iterdir())


class Kill(BaseException):
    """Simulates the end of the process."""


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), Kill()])
def test_a_removal_that_ends_midway_leaves_no_part_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    folder = tmp_path / "checkpoints"
    _save(folder, 1, 2)

    def rmtree(path: Path, *_: Any, **__: Any) -> None:
        """Deletes one file and stops."""
        next(p for p in sorted(path.rglob("*")) if p.is_file()).unlink()
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", rmtree)
        with contextlib.suppress(Kill):
            _save(folder, 3)  # removes 1
    assert _read(folder) == [2, 3]
    assert len(_names(folder)) == 3
    _save(folder, 4)  # and the remains of 1
    assert _names(folder) == ["3", "4"]
    assert _read(folder) == [3, 4]


def test_an_old_checkpoint_that_cannot_be_renamed_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    _save(folder, 1, 2)
    real = os.rename

    def rename(source: Any, target: Any, **more: Any) -> None:
        if os.path.basename(source) == "1":
            raise OSError(errno.EIO, "Input/output error")
        real(source, target, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        _save(folder, 3)
    assert _read(folder) == [1, 2, 3]
    _save(folder, 4)
    assert _read(folder) == [3, 4]


def test_a_folder_is_removed_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "interrupted"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(b"x")

    def rmtree(path: Path, *_: Any, **__: Any) -> None:
        (path / "a").unlink(missing_ok=True)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", rmtree)
        files.remove(folder)
    assert not folder.exists()
    files.remove(folder)
    assert _names(tmp_path) == []
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "E")))
        with pytest.raises(RunError, match="interrupted cannot be written: E"):
            files.remove(folder)
    assert folder.is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="preloads a library")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(
    ("stride", "calls"),
    [
        pytest.param(23, ["open", "read", "write", "close"], marks=pytest.mark.long),
        (7, ["rename", "mkdir", "unlink"]),
        pytest.param(1, [], id="all", marks=pytest.mark.long),
    ],
)
def test_a_checkpoint_is_whole_whatever_call_of_the_system_fails(
    tmp_path: Path, stride: int, calls: Any
) -> None:
    library = disks.layer(tmp_path)
    environment = {**os.environ, "LD_PRELOAD": str(library), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.faults.saves", tmp_path, str(stride), *calls]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["met"] > 2 * len(calls)
