"""Checkpoints in the middle of an epoch, for runs that are interrupted.

The state after the last step is in `interrupted/<step>` of the run directory, and its digests are
in `interrupted.json`. Both are removed when the epoch ends. These checkpoints are numbered by the
step, not by the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.errors import DamageError
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files, hosts

FOLDER = "interrupted"


class MidEpoch(NamedTuple):
    """A checkpoint in the middle of an epoch."""

    trees: dict[str, Any]  # as returned by `Checkpoints.restore`
    meta: dict[str, Any]  # as passed to `save`
    losses: list[Any]  # f32 [S] for each call of the epoch so far


def save(run: RunDir, step: int, trees: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Saves the state after `step`.

    Args:
      run: the run directory.
      step: the number of steps since the start of the run.
      trees: the trees of a checkpoint, params and training.
      meta: the metadata of a checkpoint, with the `epoch` and the `losses` of its steps so far.
    """
    with Checkpoints(files.below(run.workdir, FOLDER)) as checkpoints:
        checkpoints.save(step, trees["params"], trees["training"], meta, best_epoch=step)


def restore(run: RunDir, epoch: int, like: Mapping[str, Any]) -> MidEpoch | None:
    """Restores the checkpoint in the middle of `epoch`. Returns None if there is none.

    Raises:
      DamageError: the checkpoint is damaged; the message says how to continue without it.
      RunError: the checkpoint cannot be read.
    """
    folder = run.workdir / FOLDER
    if not folder.is_dir():
        return None
    try:
        with Checkpoints(folder) as checkpoints:
            # A later one may be left of a run whose damaged checkpoints were removed.
            for step in reversed(checkpoints.epochs()):
                meta = checkpoints.meta(step)
                if meta.get("epoch") == epoch:
                    break
            else:
                return None
            if missing := {"losses", "seconds"} - meta.keys():
                raise DamageError(f"{folder / str(step)} is damaged: it has no {min(missing)}")
            trees = checkpoints.restore(step, like)
    except DamageError as error:
        where = f"continue after epoch {epoch - 1}" if epoch > 1 else "start from the beginning"
        raise DamageError(
            f"{error}. Remove {folder} and run the same command again to {where}"
        ) from error
    return MidEpoch(trees, meta, [np.array(meta["losses"], np.float32)])


def clear(run: RunDir) -> None:
    """Removes the checkpoint of an interrupted epoch."""
    if not hosts.is_first():
        return
    for name in (FOLDER, f"{FOLDER}.json"):
        files.remove(run.workdir / name)
