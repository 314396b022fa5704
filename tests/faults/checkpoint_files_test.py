"""Files of a checkpoint that must not be opened, and files that the system cannot read."""

import errno
import os
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from crnn_jax.errors import DamageError, RunError
from crnn_jax.runs import checkpoint, mid_epoch, run_dir, stored
from crnn_jax.runs.checkpoint import Checkpoints
from tests.helpers.failing import failing

PARAMS = {"a": np.arange(3, dtype=np.float32)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one array."""
    folder = tmp_path_factory.mktemp("small") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        params = jax.tree.map(jnp.asarray, PARAMS)
        checkpoints.save(1, params, None, {"best_epoch": 1}, 1)
    return folder.parent


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    "name",
    [
        "_CHECKPOINT_METADATA",
        "commit_success.txt",
        "params/_METADATA",
        "params/manifest.ocdbt",
        "params/array_metadatas/process_0",
        "params/d",
        "params",
    ],
)
def test_a_pipe_among_the_files_is_named_and_not_opened(copy: Path, name: str) -> None:
    """Opening it would block forever."""
    path = copy / "checkpoints" / "1" / name
    if not path.exists():
        pytest.skip(f"this version of Orbax writes no {name}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.mkfifo(path)
    with Checkpoints(copy / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.epochs() == [1]
        with pytest.raises(DamageError, match=f"checkpoints/1 is damaged: {name} is a named pipe"):
            checkpoints.meta(1)
        with pytest.raises(DamageError, match=f"{name} is a named pipe"):
            checkpoints.restore(1, {"params": PARAMS})
    with (
        Checkpoints(copy / "checkpoints") as checkpoints,
        pytest.raises(RunError, match=f"checkpoints: 1/{name} is a named pipe.*remove it"),
    ):
        checkpoints.save(2, PARAMS, None, {"best_epoch": 2}, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "params/_METADATA is a symbolic link"),
        (lambda path: _bind(path), "params/_METADATA is a socket"),
        (lambda path: os.truncate(_made(path), 2**30), "params/_METADATA has 1073741824 bytes"),
        (lambda path: os.truncate(_made(path.parent / "d" / "x"), 2**40), "more than 8589934592"),
    ],
)
def test_other_files_that_must_not_be_opened(
    copy: Path, make: Callable[..., Any], says: str
) -> None:
    path = copy / "checkpoints" / "1" / "params" / "_METADATA"
    path.unlink()
    make(path)
    with (
        Checkpoints(copy / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(DamageError, match=says),
    ):
        checkpoints.restore(1, {"params": PARAMS})


def test_the_number_of_files_is_bounded(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_FILES", 5)
    with pytest.raises(DamageError, match="more than 5 files"):
        stored.check(copy / "checkpoints" / "1")


def test_a_pipe_in_an_interrupted_epoch_is_named(copy: Path) -> None:
    (copy / "checkpoints").rename(copy / mid_epoch.FOLDER)
    path = copy / mid_epoch.FOLDER / "1" / "_CHECKPOINT_METADATA"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamageError, match=r"a named pipe.*Remove \S+/interrupted and run"):
        mid_epoch.restore(run_dir.RunDir(copy), 1, {"params": PARAMS})


def _bind(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # names of sockets must be short
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(path.name)
    os.chdir(before)


def _made(path: Path) -> Any:
    path.write_bytes(b"")
    return path


def test_a_limit_on_threads_is_no_damage(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("can't start new thread")
    monkeypatch.setattr(ocp, "load_checkpointables", failing(error))
    monkeypatch.setattr(ocp, "save_checkpointables", failing(error))
    with Checkpoints(copy / "checkpoints") as checkpoints:
        with pytest.raises(RunError, match=r"1 cannot be read: .* start more threads") as caught:
            checkpoints.restore(1, {"params": PARAMS})
        assert not isinstance(caught.value, DamageError)
        with pytest.raises(RunError, match=r"2 cannot be written: .* start more threads"):
            checkpoints.save(2, PARAMS, None, {"best_epoch": 2}, 2)


@pytest.mark.parametrize(
    "number",
    [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE],
)
@pytest.mark.parametrize("wrapped", ["as text", "as a cause", "raw"])
def test_files_that_cannot_be_read_are_not_called_damaged(
    copy: Path, monkeypatch: pytest.MonkeyPatch, number: Any, wrapped: str
) -> None:
    """Orbax and tensorstore wrap system errors."""
    error = OSError(number, os.strerror(number))

    def load(*_: Any, **__: Any) -> None:
        if wrapped == "raw":
            raise error
        if wrapped == "as text":
            raise ValueError(f'UNKNOWN: Error opening "/a/b": {os.strerror(number)} [OS error]')
        raise KeyError("no handler") from error

    monkeypatch.setattr(ocp, "load_checkpointables", load)
    with (
        Checkpoints(copy / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(RunError, match=rf"1 cannot be read: {os.strerror(number)}") as caught,
    ):
        checkpoints.restore(1, {"params": PARAMS})
    assert not isinstance(caught.value, DamageError)


def test_a_file_that_fails_when_read_is_found_if_orbax_says_nothing(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orbax drops some errors and then finds no arrays."""

    def unreadable(path: Path) -> None:
        if path.name == "_METADATA":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(stored, "_read", unreadable)
    (copy / "checkpoints" / "1" / "params" / "manifest.ocdbt").write_bytes(b"x")
    with (
        Checkpoints(copy / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(RunError, match=r"cannot be read: params/_METADATA: Permission denied"),
    ):
        checkpoints.restore(1, {"params": PARAMS})
    # The metadata, which this package reads itself.
    monkeypatch.setattr(checkpoint.files, "read", lambda *_: unreadable(copy / "_METADATA"))
    with (
        Checkpoints(copy / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(RunError, match=r"checkpoints/1 cannot be read: \S*Permission denied"),
    ):
        checkpoints.meta(1)


def test_too_many_open_files_is_not_damage(copy: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Checkpoints(copy / "checkpoints", read_only=True) as checkpoints:
        checkpoints.restore(1, {"params": PARAMS})
        newest = os.dup(0)
        os.close(newest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 8, hard))
        try:
            with pytest.raises(RunError, match=r"read: Too many open.*ulimit") as caught:
                checkpoints.restore(1, {"params": PARAMS})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not isinstance(caught.value, DamageError)


def test_the_best_checkpoint_is_kept_when_its_name_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reports an error while the best epoch is read from the latest checkpoint."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, PARAMS, None, {"best_epoch": 1}, 1)
        checkpoints.save(2, PARAMS, None, {"best_epoch": 1}, 1)
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        monkeypatch.setattr(checkpoint.files, "read", failing(error))
        with pytest.raises(RunError, match="2 cannot be read: Input/output error"):
            checkpoints.save(3, PARAMS, None, {"best_epoch": 3}, 3)
        assert checkpoints.epochs() == [1, 2]
