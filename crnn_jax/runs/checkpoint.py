"""Checkpoints of the latest and the best epoch, and the previous ones. Only this module uses Orbax.

A checkpoint is a directory `checkpoints/<epoch>` with two trees and a JSON object of metadata.
`params` is the EMA of the parameters, the only tree that inference restores; `training` is the rest
of the state. Digests of all three parts are in `checkpoints.json` beside the directory, to detect
damage.

A directory named by a number is complete: a checkpoint is written and checked under another name
and then renamed, and an old one is renamed before it is removed. So a save or a removal that fails
or is killed midway leaves the other checkpoints unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from crnn_jax.errors import DamageError, RunError
from crnn_jax.runs import digests, record_types, stored, stragglers, tree_difference
from crnn_jax.runtime import files, held, hosts, limits

stragglers.silence()

_METADATA = "_CHECKPOINT_METADATA"  # Orbax's file that contains our metadata
_FILES = 64  # upper bound on the files and directories of one checkpoint
# Names that unfinished saves and removals leave: an epoch and a suffix.
_LEFT_OVER = re.compile(r"\d+\..+")


class Checkpoints:
    """The checkpoints of one run. A context manager.

    With `read_only` nothing in the directory is changed, so that a run can be read while it
    trains. Otherwise each save first removes the remains of unfinished saves and removals.

    Raises:
      RunError: there is no directory to read.
    """

    def __init__(self, directory: Path, read_only: bool = False):
        if read_only and not directory.is_dir():
            raise RunError(f"there is no directory {directory}: nothing has been trained there")
        if not read_only and files.below(directory.parent, directory.name).is_dir():
            for entry in directory.iterdir():
                files.below(directory, entry.name)
        self.directory = directory
        self._digests = digests.Digests(directory)
        self._is_checked = False
        self._anchor: held.Anchor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._anchor is not None:
            self._anchor.close()
        self._anchor = None

    def epochs(self) -> list[int]:
        """The epochs that have a checkpoint, in order. RunError if the directory is unreadable."""
        try:
            with os.scandir(self._place()) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.directory} cannot be read: {error.strerror}") from error
        return sorted(int(n) for n in names if n.isdecimal() and n == str(int(n)))

    def latest_epoch(self) -> int | None:
        """The latest epoch that has a checkpoint; None if there is none."""
        return max(self.epochs(), default=None)

    def save(
        self, epoch: int, params: Any, training: Any, meta: Mapping[str, Any], best_epoch: int
    ) -> None:
        """Writes the checkpoint of `epoch`, then deletes those that are not needed.

        Keeps this checkpoint, that of `best_epoch`, and the previous latest and best ones.

        If the run has several processes, all of them call this together, with arrays on the devices
        of all processes. Orbax then writes from all of them; everything else is done by the first.

        `training` is None for a model that was not trained here. An old checkpoint that cannot be
        deleted is not an error; the next save tries again.

        Raises:
          RunError: the disk is full, the directory cannot be written, or it was removed or
            replaced since it was locked. The earlier checkpoints are unchanged.
        """
        trees = {"params": params} | ({} if training is None else {"training": training})
        path = self.directory / str(epoch)
        if not hosts.is_first():
            hosts.barrier()  # the directory is ready
            with self._errors_of(f"the checkpoint {path} cannot be written"):
                _write(self._new(epoch), trees, meta)
            hosts.barrier()  # the checkpoint has its name
            return
        files.make_folder(self.directory)
        limits.check_open_files(f"the checkpoint {path} cannot be written")
        kept = {epoch, best_epoch}
        if (before := self.latest_epoch()) is not None:
            kept |= {before, self._best_epoch(before)}
        # Digests are written before the checkpoint, so that a kill between the two leaves an extra
        # digest but no checkpoint without one.
        parts = {name: digests.of_tree(tree) for name, tree in trees.items()}
        self._digests.write(epoch, parts | {"meta": digests.of_json(meta)}, self.epochs())
        new = self._new(epoch)
        self._remove_left_over()
        try:
            # Checked first, because Orbax handles a disk that fills up during a save badly.
            size = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + 2**18
            files.check_room(path, size, _FILES)
            with self._errors_of(f"the checkpoint {path} cannot be written"):
                self._check_files()
                hosts.barrier()
                _write(new, trees, meta)
                _check_written(new, trees, meta)
                held.check(path)
                new.rename(self._place() / str(epoch))
            hosts.barrier()
        except RunError:
            self._remove_left_over()  # frees the space for others
            raise
        held.check(path)
        for old in set(self.epochs()) - kept:
            with contextlib.suppress(RunError):
                files.remove(self.directory / str(old))

    def meta(self, epoch: int) -> dict[str, Any]:
        """Returns the metadata that was passed to `save`.

        Raises:
          DamageError: the metadata is missing or differs from what was written.
          RunError: the checkpoint cannot be read.
        """
        with self._reading(epoch) as place:
            values = json.loads(files.read(place / _METADATA, stored.MOST_METADATA))
            meta = values.get("custom_metadata") if isinstance(values, dict) else None
            if not isinstance(meta, dict) or not meta:
                raise DamageError("its metadata is missing")
            self._digests.check(epoch, "meta", digests.of_json(meta))
            record_types.check_meta(meta)
        return meta

    def restore(self, epoch: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the trees named in `like` (params, optionally training) in its shapes and types.

        Raises:
          DamageError: the checkpoint differs from what was written.
          RunError: the checkpoint cannot be read, or its arrays have other shapes.
        """
        abstract = jax.tree.map(_abstract, dict(like))
        stragglers.silence()
        with self._reading(epoch) as place:
            found = _arrays(place, like)
            if empty := [name for name in like if not found.get(name)]:
                raise DamageError(f"it contains no arrays of {empty[0]}")
            if _in_large_pieces({name: found[name] for name in like}):
                raise DamageError("its arrays are stored in chunks larger than themselves")
            # Checked before reading, because the metadata decides how much memory the arrays take.
            if difference := tree_difference.describe(found, like):
                raise RunError(f"the checkpoint {self.directory / str(epoch)} {difference}")
            trees: dict[str, Any] = ocp.load_checkpointables(place, abstract)
            for name, tree in trees.items():
                self._digests.check(epoch, name, digests.of_tree(tree))
        if hosts.count() > 1:
            return trees
        # Orbax binds arrays to a device, and those of a new run are not bound, so XLA would compile
        # every program again. Copied, because a step overwrites its state.
        free: dict[str, Any] = jax.tree.map(lambda x: jax.device_put(np.array(x)), trees)
        return free

    def _new(self, epoch: int) -> Path:
        """Returns the path under which a checkpoint is written, before it gets its name.

        Orbax adds a suffix while it writes. A directory named by a number is never incomplete.
        """
        # The path by descriptor differs between processes, and Orbax refuses that.
        place = self._place() if hosts.count() == 1 else self.directory.absolute()
        return place / f"{epoch}.new"

    def _place(self) -> Path:
        """Returns the path to use for the directory; if it exists, the path by its descriptor."""
        if self._anchor is None:
            try:
                self._anchor = held.Anchor(held.anchored(self.directory))
            except FileNotFoundError:
                return self.directory
            except OSError as error:
                raise RunError(f"{self.directory} cannot be read: {error.strerror}") from error
        return self._anchor.path

    def _check_files(self) -> None:
        """Checks the files before the first save, so that a pipe is not found only at a restart."""
        if not self._is_checked:
            try:
                stored.check(self._place())
            except DamageError as error:
                raise RunError(
                    f"{self.directory}: {error}; remove it and run the same command again"
                ) from error
            self._is_checked = True

    def _remove_left_over(self) -> None:
        with contextlib.suppress(OSError):
            for entry in list(self._place().iterdir()):
                if _LEFT_OVER.fullmatch(entry.name):
                    files.discard(entry)

    def _best_epoch(self, epoch: int) -> int:
        """Returns the best epoch that a checkpoint names, or its own epoch if it is damaged."""
        try:
            return int(self.meta(epoch)["best_epoch"])
        except (DamageError, KeyError, TypeError, ValueError):
            return epoch

    @contextlib.contextmanager
    def _reading(self, epoch: int) -> Iterator[Path]:
        """Yields the path of a checkpoint that is safe to open. Converts errors to one line."""
        path, place = self.directory / str(epoch), self._place() / str(epoch)
        try:
            if place.is_symlink():
                raise DamageError("it is a symbolic link, not a directory")
            stored.check(place)
        except DamageError as error:
            raise DamageError(f"the checkpoint {path} is damaged: {error}") from error
        except OSError as error:
            raise self._failure(epoch, error) from error
        limits.check_open_files(f"the checkpoint {path} cannot be read")
        try:
            yield place
        except Exception as error:
            if isinstance(error, RunError) and not isinstance(error, DamageError):
                raise
            stragglers.close_forgotten()
            _raise_interrupt(error)
            raise self._failure(epoch, error) from error

    def _failure(self, epoch: int, error: Exception) -> RunError:
        """Returns a DamageError if all files can be read, else another RunError."""
        path, place = self.directory / str(epoch), self._place() / str(epoch)
        if problem := stored.read_problem(place, error):
            return RunError(f"the checkpoint {path} cannot be read: {problem}")
        message = str(error) if isinstance(error, DamageError) else self._first_line(error)
        return DamageError(f"the checkpoint {path} is damaged: {message}")

    @contextlib.contextmanager
    def _errors_of(self, what: str) -> Iterator[None]:
        """Converts all errors of Orbax to a RunError of one sentence."""
        try:
            yield
        except RunError:
            raise
        except Exception as error:
            stragglers.close_forgotten()
            _raise_interrupt(error)
            held.check(self.directory)
            why = self._first_line(error)
            if "No space left" in str(error) or "quota exceeded" in str(error):
                why = "the disk is full; make room, then run the same command again"
            elif limits.is_of_threads(error):
                why = limits.NO_THREADS
            raise RunError(f"{what}: {why}") from error

    def _first_line(self, error: Exception) -> str:
        if isinstance(error, OSError) and error.strerror:
            name = Path(os.fsdecode(error.filename)).name if error.filename else ""
            return f"{name}: {error.strerror}" if name else error.strerror
        line = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        return line.replace(os.fspath(self._place()), os.fspath(self.directory))


def _in_large_pieces(stored: Any) -> bool:
    """Whether arrays claim to have chunks larger than themselves.

    Each chunk is read whole, so a large one could exhaust the memory.
    """
    return any(
        piece > size
        for leaf in jax.tree.leaves(stored)
        for piece, size in zip(leaf.storage_metadata.chunk_shape, leaf.shape, strict=True)
    )


def _context() -> ocp.Context:
    context = ocp.Context()
    # Otherwise threads wait for minutes for directories that could not be made.
    context.asynchronous.create_directories_asynchronously = False
    return context


def _write(new: Path, trees: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    with _context():
        ocp.save_checkpointables(new, trees, custom_metadata=dict(meta))


def _check_written(place: Path, trees: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Checks a checkpoint before it is renamed, because Orbax does not raise all write errors.

    Raises:
      OSError: metadata or arrays are missing.
    """
    written = json.loads(files.read(place / _METADATA, stored.MOST_METADATA))
    found = _arrays(place, trees)
    missing = [name for name in trees if not found.get(name)]
    if missing or digests.of_json(written["custom_metadata"]) != digests.of_json(meta):
        what = f"the written checkpoint has no {missing[0] if missing else 'metadata'}"
        raise OSError(errno.EIO, what)


def _arrays(place: Path, names: Iterable[str]) -> Mapping[str, Any]:
    """Returns Orbax's metadata of the arrays by name; nothing for a name without arrays.

    Orbax takes Ctrl-C for a missing tree, so what is missing is looked for again.
    """
    found: Mapping[str, Any] = ocp.checkpointables_metadata(place).metadata
    if not all(found.get(name) for name in names):
        found = ocp.checkpointables_metadata(place).metadata
    return found


def _raise_interrupt(error: BaseException | None) -> None:
    """Raises KeyboardInterrupt if Orbax has converted one to this error."""
    while error:
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt
        error = error.__cause__


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    # Without a sharding Orbax would use the one in the file, and warn.
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
