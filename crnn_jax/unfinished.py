"""An epoch that was interrupted: the state after its last step, beside the epochs' checkpoints.

It lies in `interrupted/<step>` of the run directory, until its epoch ends, and its digests in
`interrupted.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from crnn_jax import disk
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import DamageError
from crnn_jax.record import Record

FOLDER = "interrupted"


class Unfinished(NamedTuple):
    trees: dict[str, Any]  # as `Checkpoints.restore` gives them
    meta: dict[str, Any]  # that `save` was given
    losses: list[Any]  # f32 [S] for each call of the epoch so far


def save(
    run: Record,
    epoch: int,
    step: int,
    params: Any,
    training: Any,
    losses: Sequence[jax.Array],
    meta: Mapping[str, Any],
) -> None:
    """Keeps the state after `step`, in epoch `epoch`, whose steps so far had `losses`."""
    values = np.concatenate(jax.device_get(list(losses))).tolist()
    with Checkpoints(run.workdir / FOLDER) as checkpoints:
        known = {**meta, "epoch": epoch, "losses": values}
        checkpoints.save(step, params, training, known, best_epoch=step)


def restore(run: Record, epoch: int, like: Mapping[str, Any]) -> Unfinished | None:
    """What was kept of epoch `epoch`, if anything was.

    Raises:
      DamageError: it is not what was written; the message says how to go on without it.
    """
    folder = run.workdir / FOLDER
    if not folder.is_dir():
        return None
    try:
        with Checkpoints(folder) as checkpoints:
            step = checkpoints.latest_epoch()
            if step is None or (meta := checkpoints.meta(step))["epoch"] != epoch:
                return None
            trees = checkpoints.restore(step, like)
    except DamageError as error:
        where = f"goes on after epoch {epoch - 1}" if epoch > 1 else "begins anew"
        raise DamageError(f"{error}. Remove {folder} and the same command {where}") from error
    return Unfinished(trees, meta, [np.array(meta["losses"], np.float32)])


def clear(run: Record) -> None:
    """Forgets it."""
    shutil.rmtree(disk.below(run.workdir, FOLDER), ignore_errors=True)
    (run.workdir / f"{FOLDER}.json").unlink(missing_ok=True)
