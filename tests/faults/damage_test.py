"""Damaged, unreadable and vanishing checkpoints: the message says which, and what is intact."""

import errno
import json
import os
import re
import resource
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from crnn_jax.config import Config
from crnn_jax.errors import DamageError, RunError
from crnn_jax.inference import recognizer
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runs import checkpoint, mid_epoch, run_dir, stored
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage") / "run"


@pytest.fixture
def run(
    tiny_config: MakeConfig, whole: Path, tmp_path: Path
) -> tuple[Config, Path, dict[str, Any]]:
    """A run of three epochs; the last is the best. Its result is not written yet."""
    config = tiny_config(
        {**QUIET, "train.epochs": 3, "log.every_steps": 2, "train.checkpoint_selection": "last"}
    )
    if not whole.exists():
        train.train_and_evaluate(config, whole)
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    expected = json.loads((copy / "result.json").read_text())
    (copy / "result.json").unlink()
    return config, copy, expected


def _arrays(checkpoint: Path, tree: Any) -> Any:
    """Returns the largest file of a tree, which has the bytes of its arrays."""
    files = [p for p in (checkpoint / tree).rglob("*") if p.is_file()]
    return max(files, key=lambda p: p.stat().st_size)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_meta(checkpoint: Path) -> None:
    path = checkpoint / "_CHECKPOINT_METADATA"
    values = json.loads(path.read_text())
    values["custom_metadata"]["mean"] = [values["custom_metadata"]["mean"][0] + 1]
    path.write_text(json.dumps(values))


DAMAGES = {
    "flipped": lambda c: _flip(_arrays(c, "params")),
    "flipped training": lambda c: _flip(_arrays(c, "training")),
    "cut off": lambda c: _arrays(c, "params").write_bytes(b"\0" * 100),
    "missing": lambda c: _arrays(c, "params").unlink(),
    "another mean": _flip_meta,
}


@pytest.mark.parametrize(
    "damage",
    [
        *("flipped", "missing", "another mean"),
        *(pytest.param(d, marks=pytest.mark.long) for d in ("flipped training", "cut off")),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on_to_the_same_end(
    run: tuple[Config, Path, dict[str, Any]], damage: Any
) -> None:
    config, folder, expected = run
    latest = folder / "checkpoints" / "3"
    DAMAGES[damage](latest)
    with pytest.raises(DamageError, match=r"checkpoints/3 is damaged") as error:
        train.train_and_evaluate(config, folder)
    offer = re.search(
        r"epoch 2 is intact\. Remove (\S+) and run the same command", str(error.value)
    )
    assert offer
    assert offer[1] == str(latest)
    if damage != "flipped training":  # the training state, which a reader does not need
        with pytest.raises(DamageError, match=r"checkpoints/3 is damaged.*--epoch: 2$"):
            recognizer.load(folder)
    if damage != "flipped":
        return
    assert recognizer.load(folder, epoch=2).epoch == 2
    shutil.rmtree(latest)
    assert train.train_and_evaluate(config, folder).params_sha256 == expected["params_sha256"]


def test_without_a_whole_one_the_message_says_so(run: tuple[Config, Path, dict[str, Any]]) -> None:
    config, folder, _ = run
    for epoch in (2, 3):
        _flip(_arrays(folder / "checkpoints" / str(epoch), "params"))
    with pytest.raises(DamageError, match="No earlier checkpoint is intact"):
        train.train_and_evaluate(config, folder)
    with pytest.raises(DamageError, match=r"damaged: [^;]*$"):
        recognizer.load(folder)


def test_arrays_that_changed_behind_sound_checksums_are_known_by_their_digest(
    tmp_path: Path,
) -> None:
    """The files of a checkpoint are replaced by those of another, intact checkpoint."""
    params = {"a": np.arange(3.0, dtype=np.float32)}
    for name, factor in (("one", 1), ("two", 2)):
        with Checkpoints(tmp_path / name / "checkpoints") as checkpoints:
            checkpoints.save(1, {"a": params["a"] * factor}, None, {"best_epoch": 1}, 1)
    one, two = (tmp_path / name / "checkpoints" / "1" / "params" for name in ("one", "two"))
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with Checkpoints(tmp_path / "one" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.meta(1) == {"best_epoch": 1}
        with pytest.raises(
            DamageError, match=r"checkpoints/1 is damaged: the digest of its params"
        ):
            checkpoints.restore(1, {"params": params})
        # A run of a version without digests can be read.
        (tmp_path / "one" / "checkpoints.json").unlink()
        restored = checkpoints.restore(1, {"params": params})["params"]["a"]
    np.testing.assert_array_equal(restored, 2 * params["a"])


def test_a_digest_that_is_not_in_the_record_is_missed(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, {"a": np.ones(2, np.float32)}, None, {"best_epoch": 1}, 1)
    run_dir.RunDir(tmp_path).write_json("checkpoints.json", {})
    with (
        Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(DamageError, match="not None"),
    ):
        checkpoints.meta(1)


def test_a_run_of_a_version_that_kept_no_digests_goes_on(tmp_path: Path) -> None:
    params = {"a": np.ones(2, np.float32)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, params, None, {"best_epoch": 1}, 1)
        (tmp_path / "checkpoints.json").unlink()
        checkpoints.save(2, params, None, {"best_epoch": 1}, 1)
        assert checkpoints.meta(1) == {"best_epoch": 1}
        checkpoints.restore(1, {"params": params})
    assert run_dir.RunDir(tmp_path).read_json("checkpoints.json")["1"] is None


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
    monkeypatch.setattr(ocp, "load_checkpointables", lambda *_: _raise(error))
    monkeypatch.setattr(ocp, "save_checkpointables", lambda *_, **__: _raise(error))
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
        monkeypatch.setattr(checkpoint.files, "read", lambda *_: _raise(error))
        with pytest.raises(RunError, match="2 cannot be read: Input/output error"):
            checkpoints.save(3, PARAMS, None, {"best_epoch": 3}, 3)
        assert checkpoints.epochs() == [1, 2]


def _raise(error: BaseException) -> None:
    raise error


def _resave(folder: Path, reader: Recognizer, epoch: int) -> None:
    meta = {
        "alphabet": reader.charset.alphabet,
        "mean": reader.model.mean.tolist(),
        "deviation": reader.model.std.tolist(),
        "each_picture": reader.model.per_image,
        "fingerprint": reader.fingerprint,
        "best_epoch": epoch,
    }
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(epoch, reader.params, None, meta, epoch)


def test_a_checkpoint_that_vanishes_while_it_is_read_is_no_damage(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running training saves a newer epoch and deletes the one that is being read."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    reader = recognizer.load(run)
    newest = max(int(p.name) for p in (run / "checkpoints").iterdir()) + 1
    real = Checkpoints.restore

    def restore(self: Checkpoints, epoch: int, like: Any) -> Any:
        if epoch != newest:
            _resave(run / "checkpoints", reader, newest)
            shutil.rmtree(run / "checkpoints" / str(epoch))
        return real(self, epoch, like)

    monkeypatch.setattr(Checkpoints, "restore", restore)
    assert recognizer.load(run).epoch == newest


def test_a_run_is_read_in_a_loop_while_it_trains(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    reader = recognizer.load(run)
    first = max(int(p.name) for p in (run / "checkpoints").iterdir()) + 1

    def write() -> None:
        for epoch in range(first, first + 15):
            _resave(run / "checkpoints", reader, epoch)

    writer = threading.Thread(target=write)
    writer.start()
    read = []
    try:
        while writer.is_alive():
            read.append(recognizer.load(run).epoch)
    finally:
        writer.join()
    assert recognizer.load(run).epoch == first + 14
    assert read == sorted(read)
