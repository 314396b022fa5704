"""Saves and continues a run, after an epoch or in the middle of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import errors
from crnn_jax.errors import DamageError, RunError, one_line, quote
from crnn_jax.models import crnn
from crnn_jax.runs import continuing, mid_epoch, provenance
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import hosts
from crnn_jax.runtime.data_parallel import first_shard
from crnn_jax.training import run_logging, warm_start
from crnn_jax.training.context import TrainContext
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.flat_start import FlatStart
from crnn_jax.training.run import Run
from crnn_jax.training.state import TrainState, init_state
from crnn_jax.training.step import constants

# What checkpoints of older versions lack, with the value that they had implicitly.
_ADDED: Mapping[str, Any] = {"other_cases": ""}


def resume(
    directory: RunDir,
    context: TrainContext,
    checkpoints: Checkpoints,
    start: float,
    allow_environment_change: bool,
) -> Run:
    """Returns the run of a directory, new or restored, and brings its record to the same step.

    Args:
      directory: a locked and opened run directory.
      context: the context of the run.
      checkpoints: the checkpoints of the directory.
      start: time.monotonic() at the start of training.
      allow_environment_change: continue although package versions or the machine have changed.

    Raises:
      RunError: the run cannot continue in this environment, or its checkpoints are damaged or of
        other data.
    """
    run = Run(directory, context, checkpoints, constants(context), start, init_state(context))
    restore(run)
    if hosts.is_first():
        environment = provenance.here(context.devices.names(), hosts.count())
        if run.step:
            environment = check_environment(directory, environment, allow_environment_change)
        run_logging.describe(run, environment)
        directory.rewind_metrics(run.step)
    if hosts.count() > 1:
        hosts.agree(
            {"step": run.step, "digest of the weights": crnn.params_sha256(run.state.params)},
            "all processes need the same --workdir on a shared file system, the same "
            "train.init_from, and machines of the same kind",
        )
    run.state = context.devices.replicate(run.state)
    return run


def restore(run: Run) -> None:
    """Restores a new run from its directory, or takes the parameters of train.init_from.

    Raises:
      RunError: the directory contains an imported model; or see `restore_intact`, `check_data` and
        `warm_start.transfer`.
    """
    epoch = run.checkpoints.latest_epoch()
    like = to_trees(run.state)
    trees, seconds = None, 0.0
    if epoch == 0:
        workdir = run.dir.workdir
        raise RunError(
            f"{workdir} was imported and not trained here; start another run from it, with "
            f"--config.train.init_from={workdir}"
        )
    if epoch is not None:
        meta, trees = restore_intact(run.checkpoints, epoch, like)
        check_data(meta, run.context, run.checkpoints.directory)
        run.stopping = Stopping(*(meta[name] for name in Stopping._fields))
        run.epoch, seconds = epoch, meta["seconds"]
    if mid := mid_epoch.restore(run.dir, run.epoch + 1, like):
        check_data(mid.meta, run.context, run.dir.workdir / mid_epoch.FOLDER)
        trees, run.losses, seconds = mid.trees, mid.losses, mid.meta["seconds"]
    run.started_at -= seconds
    origin = run.context.origin
    params = _initial_params(run, is_new=not trees)
    if run.context.trained_share < 1:  # copied, because a step consumes its state
        kept = run.context.devices.replicate(jax.tree.map(jnp.copy, params))
        run.constants = run.constants._replace(init_params=kept)
    if trees:
        since = f" and {run.steps_since} steps" if run.losses else ""
        print(f"continuing after epoch {run.epoch}{since}")
        run.state = from_trees(trees)
    elif origin.run:
        if note := warm_start.other_width(origin, run.config):
            print(f"note: {note}")
        fresh = run.state
        # A flat start would destroy the alignment of a trained model.
        flat_start = fresh.flat_start._replace(weight=jnp.zeros(()))
        ema = jax.tree.map(jnp.copy, params)
        run.state = fresh._replace(params=params, ema=ema, flat_start=flat_start)


def _initial_params(run: Run, is_new: bool) -> Any:
    """Returns the parameters of train.init_from for the fresh state of a run.

    Returns None if there is no such run, or if a restored run does not need them.
    """
    origin = run.context.origin
    if not origin.run or not (is_new or run.context.trained_share < 1):
        return None
    return warm_start.transfer(run.state.params, run.context.charset, origin, run.config)


def save(run: Run, seconds: float) -> None:
    """Saves a run after an epoch."""
    trees = to_trees(saved(run.state))
    meta = {**run.context.identity(), **run.stopping._asdict(), "seconds": seconds}
    best_epoch = run.stopping.best_epoch
    run.checkpoints.save(run.epoch, trees["params"], trees["training"], meta, best_epoch)
    mid_epoch.clear(run.dir)


def save_mid_epoch(run: Run) -> None:
    """Saves a run that was interrupted in an epoch, with the losses of its steps so far."""
    losses = np.concatenate(run.losses).tolist()
    so_far = {"epoch": run.epoch + 1, "losses": losses, "seconds": run.seconds}
    mid_epoch.save(
        run.dir, run.step, to_trees(saved(run.state)), {**run.context.identity(), **so_far}
    )


def saved(state: TrainState) -> TrainState:
    """Returns the arrays to save: on one device, or on those of all processes of the run."""
    arrays: TrainState = first_shard(state) if hosts.count() == 1 else state
    return arrays


def to_trees(state: TrainState) -> dict[str, Any]:
    """Returns the two trees of a checkpoint: `params` for inference, and the rest for training.

    The names are those of the first version, so that checkpoints of all versions can be restored.
    """
    loss, weight = state.flat_start
    training = {
        "step": state.step,
        "params": state.params,
        "opt_state": state.opt_state,
        "guide": {"loss": loss, "share": weight},
    }
    return {"params": state.ema, "training": training}


def from_trees(trees: Mapping[str, Any]) -> TrainState:
    """Returns the state of a checkpoint's two trees. The inverse of `to_trees`."""
    training = trees["training"]
    return TrainState(
        training["step"],
        training["params"],
        trees["params"],
        training["opt_state"],
        FlatStart(training["guide"]["loss"], training["guide"]["share"]),
    )


def restore_intact(
    checkpoints: Checkpoints, epoch: int, like: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns metadata and trees of the checkpoint of `epoch`, and checks that of its best epoch.

    Raises:
      DamageError: one of the checkpoints is damaged. The message names the newest intact epoch.
      RunError: one of the checkpoints cannot be read.
    """
    try:
        return _restore_intact(checkpoints, epoch, like)
    except DamageError as error:
        earlier = [e for e in reversed(checkpoints.epochs()) if e < epoch]
        before = next((e for e in earlier if _is_intact(checkpoints, e, like)), None)
        if before is None:
            offer = (
                "No earlier checkpoint is intact. The same config in another --workdir gives the "
                "same result"
            )
        else:
            paths = [checkpoints.directory / str(e) for e in checkpoints.epochs() if e > before]
            offer = (
                f"The checkpoint of epoch {before} is intact. Remove "
                f"{' '.join(map(str, paths))} and run the same command again to continue from "
                "there; the result will be the same"
            )
        raise DamageError(f"{error}. {offer}") from error


def _restore_intact(
    checkpoints: Checkpoints, epoch: int, like: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    meta = checkpoints.meta(epoch)
    if missing := {*Stopping._fields, "seconds"} - meta.keys():
        raise DamageError(
            f"the checkpoint {checkpoints.directory / str(epoch)} is damaged: its metadata has no "
            f"{min(missing)}"
        )
    if meta["best_epoch"] != epoch:
        checkpoints.meta(meta["best_epoch"])
        checkpoints.restore(meta["best_epoch"], {"params": like["params"]})
    return meta, checkpoints.restore(epoch, like)


def _is_intact(checkpoints: Checkpoints, epoch: int, like: Mapping[str, Any]) -> bool:
    try:
        _restore_intact(checkpoints, epoch, like)
    except RunError:
        return False
    return True


def check_data(meta: Mapping[str, Any], context: TrainContext, directory: Path) -> None:
    """Checks that a checkpoint is of the current data. RunError names everything that changed."""
    if context.start_sha256 != meta.get("start_sha256", ""):
        raise RunError(
            f"train.init_from: the weights of {one_line(context.config.train.init_from)} are not "
            f"those that {directory} started from; restore them, or choose another --workdir"
        )
    changed = [
        f"  {name}: was {quote(meta.get(name))}, is now {quote(value)}"
        for name, value in context.identity().items()
        if meta.get(name, _ADDED.get(name)) != value
    ]
    if changed:
        advice = continuing.advice(directory.parent, context.config)
        raise RunError(
            f"the data set is not the one that {directory} was trained on; restore it, or choose "
            "another --workdir\n" + "\n".join(changed) + (f"\n  {advice}" if advice else "")
        )


def check_environment(
    run: RunDir, now: Mapping[str, Any], allow_environment_change: bool
) -> dict[str, Any]:
    """Returns the environment to record, with earlier environments if the run has moved.

    Raises:
      RunError: the run began with other versions or on another machine, which can change results,
        and `allow_environment_change` is off.
    """
    then = run.environment()
    # Before, all devices of the process were recorded, also those that the run did not use.
    if then.get("devices") == [f"{d.platform} {d.device_kind}" for d in jax.devices()]:
        then = {**then, "devices": now["devices"]}
    changes = provenance.differences(then, now)
    decisive = [text for key, text in changes.items() if provenance.is_decisive(key)]
    if decisive and not allow_environment_change:
        raise RunError(
            f"{run.workdir} was started in another environment; results may differ in this one:\n  "
            + "\n  ".join(decisive)
            + "\nContinue anyway with --allow-environment-change, or choose another --workdir"
        )
    for text in changes.values():
        print(f"note: since the run began, {errors.for_terminal(text)}")
    earlier = then.get("earlier", [])
    if decisive:
        earlier = [*earlier, {k: v for k, v in then.items() if k != "earlier"}]
    return {**now, **({"earlier": earlier} if earlier else {})}
