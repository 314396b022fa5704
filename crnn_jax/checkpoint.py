"""Checkpoints: the latest epoch, the best one, and those before. Orbax is imported nowhere else.

A checkpoint is a directory `checkpoints/<epoch>` with two trees, `params` (what a reader needs,
the average) and `training` (the rest of the state), so that a reader restores the former alone,
and a JSON object of what a reader or a resumed run needs besides. Orbax writes it under another
name and renames it when it is whole: a killed save leaves the one before. Digests of all three
stand in `checkpoints.json` beside the directory, by which a damaged one is known.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import inspect
import json
import logging as std_logging
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from crnn_jax import disk
from crnn_jax.errors import DamageError, RunError
from crnn_jax.model import by_name
from crnn_jax.record import Record

# Orbax tells every save in a page, and each error from each of its threads: it raises them too.
logging.set_verbosity(logging.FATAL)
std_logging.getLogger("absl").setLevel(std_logging.CRITICAL)


class Checkpoints:
    """The checkpoints of one run. A context manager; closing waits for what is being written.

    With `read_only` nothing in the directory is touched, so that a run can be read while it
    trains; else what a killed save left is cleared away.
    """

    def __init__(self, directory: Path, read_only: bool = False):
        if read_only and not directory.is_dir():
            raise RunError(f"there is no directory {directory}: nothing has been trained there")
        if not read_only and disk.below(directory.parent, directory.name).is_dir():
            for entry in directory.iterdir():
                disk.below(directory, entry.name)
        self.directory = directory
        self._keep = _Keep()
        self._digests = Record(directory.parent)
        self._file = f"{directory.name}.json"
        with _errors_of(f"{directory} cannot be {'read' if read_only else 'written'}"):
            self._checkpointer = ocp.training.Checkpointer(
                directory.resolve(),  # Orbax takes absolute paths only
                preservation_policy=self._keep,
                cleanup_tmp_directories=not read_only,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):  # of a save that failed, and said so
            self._checkpointer.close()

    def epochs(self) -> list[int]:
        """Of the checkpoints that are there, in their order."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def latest_epoch(self) -> int | None:
        return max(self.epochs(), default=None)

    def save(
        self, epoch: int, params: Any, training: Any, meta: Mapping[str, Any], best_epoch: int
    ) -> None:
        """Writes epoch `epoch`, then deletes all but it, `best_epoch`, and these two of before it.

        A reader that was not trained here has no `training`, None.

        Raises:
          RunError: the disk is full or cannot be written; the checkpoints before are as they were.
        """
        trees = {"params": params} | ({} if training is None else {"training": training})
        kept = {epoch, best_epoch}
        if (before := self.latest_epoch()) is not None:
            kept |= {before, self._best_epoch(before)}
        self._keep.epochs = kept
        # Before the checkpoint: a kill between the two leaves a digest too many, and none missing.
        # Checkpoints of a version that kept none have None.
        known = self._read_digests()
        digests: dict[str, Any] = {
            str(e): known.get(str(e), {}) if known is not None else None for e in self.epochs()
        }
        digests[str(epoch)] = {name: _digest(tree) for name, tree in trees.items()}
        digests[str(epoch)]["meta"] = _digest_of(meta)
        self._digests.write_json(self._file, digests)
        path = self.directory / str(epoch)
        try:
            # Orbax ends in tracebacks of other threads where a disk fills up in the middle.
            disk.check_room(path, 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + 2**18)
            with _errors_of(f"the checkpoint {path} cannot be written"):
                self._checkpointer.save_checkpointables(epoch, trees, custom_metadata=dict(meta))
        except RunError:
            for part in self.directory.glob(f"{epoch}.*"):  # others want the space
                shutil.rmtree(part, ignore_errors=True)
            raise

    def meta(self, epoch: int) -> dict[str, Any]:
        """What `save` was given. DamageError where it cannot be read or is not what was written."""
        with self._damage(epoch):
            meta = dict(self._checkpointer.metadata(epoch).custom_metadata)
            if not meta:
                raise DamageError("it says nothing of itself")
            self._check(epoch, "meta", _digest_of(meta))
        return meta

    def restore(self, epoch: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """The trees that `like` names (params, perhaps training), in its shapes and types.

        Raises:
          DamageError: the checkpoint cannot be read, or is not what was written.
          RunError: its arrays are of other shapes.
        """
        abstract = jax.tree.map(_abstract, dict(like))
        with self._damage(epoch):
            stored = self._checkpointer.checkpointables_metadata(epoch).metadata
            if not all(stored[name] for name in like):
                raise DamageError("it names no arrays")
            if _in_large_pieces({name: stored[name] for name in like}):
                raise DamageError("its arrays are not stored as they are written here")
            # Before they are read: what a file claims decides how much memory that takes.
            if difference := _difference(stored["params"], like["params"]):
                path = self.directory / str(epoch)
                raise RunError(f"the checkpoint {path} is of another model: {difference}")
        _HearNoStragglers.install()
        with self._damage(epoch):
            trees = self._checkpointer.load_checkpointables(epoch, abstract)
            for name, tree in trees.items():
                self._check(epoch, name, _digest(tree))
        return trees

    def _check(self, epoch: int, name: str, found: str) -> None:
        digests = self._read_digests()
        if digests is None or digests.get(str(epoch), "") is None:  # of a version that kept none
            return
        known = digests.get(str(epoch))
        written = known.get(name) if isinstance(known, dict) else None
        if found != written:
            raise DamageError(f"the digest of its {name} is {found[:12]}, not {str(written)[:12]}")

    def _read_digests(self) -> dict[str, Any] | None:
        path = self._digests.workdir / self._file
        return self._digests.read_json(self._file) if path.exists() else None

    def _best_epoch(self, epoch: int) -> int:
        """That a checkpoint names, or itself."""
        try:
            return int(self.meta(epoch)["best_epoch"])
        except (RunError, KeyError, TypeError, ValueError):
            return epoch

    @contextlib.contextmanager
    def _damage(self, epoch: int) -> Iterator[None]:
        """Orbax wraps what the file system or tensorstore say in errors of many kinds."""
        path = self.directory / str(epoch)
        try:
            yield
        except DamageError as error:
            raise DamageError(f"the checkpoint {path} is damaged: {error}") from error
        except RunError:
            raise
        except Exception as error:
            _close_forgotten()
            raise DamageError(f"the checkpoint {path} is damaged: {_first_line(error)}") from error


def _digest(tree: Any) -> str:
    """Of the arrays of a tree in their order, whatever they are called: types, shapes, bytes."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        sha.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    return sha.hexdigest()


def _digest_of(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(meta), sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _errors_of(what: str) -> Iterator[None]:
    """RunError, in a sentence, for whatever Orbax raises."""
    try:
        yield
    except Exception as error:
        why = _first_line(error)
        if "No space left" in str(error) or "quota exceeded" in str(error):
            why = "the disk is full; make room, and the same command goes on"
        raise RunError(f"{what}: {why}") from error


def _close_forgotten() -> None:
    """Orbax leaves the other halves of a load that fails unawaited, of which Python would warn."""
    for item in gc.get_objects():
        if _is_orbax(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
            item.close()


class _HearNoStragglers:
    """A hook for what no caller can catch: quiet of the threads of a load that failed.

    They end after it, and Python would print of each that its event loop is closed, beneath the
    error that has told what is wrong.
    """

    def __init__(self, hook: Callable[[Any], Any]):
        self._hook = hook

    @classmethod
    def install(cls) -> None:
        if not isinstance(sys.unraisablehook, cls):
            sys.unraisablehook = cls(sys.unraisablehook)

    def __call__(self, unraisable: Any) -> None:
        of_a_thread = unraisable.object is None and unraisable.exc_type is RuntimeError
        closed = of_a_thread and str(unraisable.exc_value) == "Event loop is closed"
        if not closed and not _is_orbax(unraisable.object):
            self._hook(unraisable)


def _is_orbax(item: Any) -> bool:
    return inspect.iscoroutine(item) and "/orbax/" in item.cr_code.co_filename


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def _difference(stored: Any, wanted: Any) -> str | None:
    """The first array, by name, in which two trees differ."""
    there, here = (
        {name: f"{leaf.dtype} {tuple(leaf.shape)}" for name, leaf in by_name(tree).items()}
        for tree in (stored, wanted)
    )
    for name in sorted(set(there) | set(here)):
        if there.get(name) != here.get(name):
            return f"{name} is {there.get(name, 'nothing')} there, {here.get(name, 'nothing')} here"
    return None


def _in_large_pieces(stored: Any) -> bool:
    """Whether arrays claim to be stored in pieces larger than themselves, each read whole."""
    return any(
        piece > size
        for leaf in jax.tree.leaves(stored)
        for piece, size in zip(leaf.storage_metadata.chunk_shape, leaf.shape, strict=True)
    )


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    # Without a sharding Orbax would take the one in the file, and warn.
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


class _Keep:
    """Orbax' preservation policy protocol: which of the checkpoints stay."""

    epochs: Collection[int] = ()

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        del context
        latest = max((c.step for c in checkpoints), default=None)
        return [c.step == latest or c.step in self.epochs for c in checkpoints]
