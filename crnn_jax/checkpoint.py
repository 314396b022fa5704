"""Checkpoints: the latest epoch and the best one. Orbax is imported nowhere else.

A checkpoint is a directory `checkpoints/<epoch>` with two trees, `params` (what a reader needs,
the average) and `training` (the rest of the state), so that a reader restores the former alone,
and a JSON object of what a reader or a resumed run needs besides. Orbax writes it under another
name and renames it when it is whole: a killed save leaves the one before.
"""

from __future__ import annotations

import logging as std_logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from crnn_jax.errors import RunError
from crnn_jax.model import by_name

logging.set_verbosity(logging.WARNING)  # Orbax tells every save in a page
std_logging.getLogger("absl").setLevel(std_logging.WARNING)


class Checkpoints:
    """The checkpoints of one run. A context manager; closing waits for what is being written.

    With `read_only` nothing in the directory is touched, so that a run can be read while it
    trains; else what a killed save left is cleared away.
    """

    def __init__(self, directory: Path, read_only: bool = False):
        if read_only and not directory.is_dir():
            raise RunError(f"there is no directory {directory}: nothing has been trained there")
        self.directory = directory
        self._keep = _BestAndLatest()
        self._checkpointer = ocp.training.Checkpointer(
            directory.resolve(),  # Orbax takes absolute paths only
            preservation_policy=self._keep,
            cleanup_tmp_directories=not read_only,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    def latest_epoch(self) -> int | None:
        latest = self._checkpointer.latest
        return latest.step if latest else None

    def save(
        self, epoch: int, params: Any, training: Any, meta: Mapping[str, Any], best_epoch: int
    ) -> None:
        """Writes epoch `epoch`, then deletes all but it and `best_epoch`.

        A reader that was not trained here has no `training`, None.
        """
        self._keep.best_epoch = best_epoch
        trees = {"params": params} | ({} if training is None else {"training": training})
        self._checkpointer.save_checkpointables(epoch, trees, custom_metadata=dict(meta))

    def meta(self, epoch: int) -> dict[str, Any]:
        """What `save` was given. RunError where it cannot be read."""
        try:
            meta = dict(self._checkpointer.metadata(epoch).custom_metadata)
        except Exception as error:  # as in `restore`
            raise RunError(f"the checkpoint {self.directory / str(epoch)} is damaged") from error
        if not meta:
            raise RunError(f"the checkpoint {self.directory / str(epoch)} is damaged")
        return meta

    def restore(self, epoch: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """The trees that `like` names (params, perhaps training), in its shapes and types.

        Raises:
          RunError: the checkpoint is damaged or its arrays are of other shapes.
        """
        path = self.directory / str(epoch)
        abstract = jax.tree.map(_abstract, dict(like))
        try:
            stored = self._checkpointer.checkpointables_metadata(epoch).metadata
            if not stored["params"]:
                raise RunError(f"the checkpoint {path} is damaged: it names no parameters")
            if difference := _difference(stored["params"], like["params"]):
                raise RunError(f"the checkpoint {path} is of another model: {difference}")
            return self._checkpointer.load_checkpointables(epoch, abstract)
        except RunError:
            raise
        # Orbax wraps what the file system or tensorstore say in errors of many kinds.
        except Exception as error:
            message = (str(error).splitlines() or [""])[0][:300]
            raise RunError(
                f"the checkpoint {path} is damaged ({type(error).__name__}: {message})"
            ) from error


def _difference(stored: Any, wanted: Any) -> str | None:
    """The first parameter, by name, in which two trees differ."""
    shapes = [
        {name: tuple(leaf.shape) for name, leaf in by_name(tree).items()}
        for tree in (stored, wanted)
    ]
    for name in sorted(set(shapes[0]) | set(shapes[1])):
        there, here = (s.get(name, "nothing") for s in shapes)
        if there != here:
            return f"{name} is {there} there and {here} here"
    return None


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    # Without a sharding Orbax would take the one in the file, and warn.
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


class _BestAndLatest:
    """Orbax' preservation policy protocol: which of the checkpoints stay."""

    best_epoch: int | None = None

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        del context
        latest = max((c.step for c in checkpoints), default=None)
        return [c.step in (latest, self.best_epoch) for c in checkpoints]
