"""The state of a training: how it begins, is kept, and goes on."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from crnn_jax import errors
from crnn_jax.config import Config, FlatStartConfig
from crnn_jax.errors import DamageError, RunError, quote
from crnn_jax.models import crnn
from crnn_jax.runs import provenance, run_dir, unfinished
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import flat_start, warm_start
from crnn_jax.training.context import TrainContext
from crnn_jax.training.early_stopping import Stopping


class TrainState(NamedTuple):
    step: jax.Array  # i32, updates done
    params: Any
    average: Any  # of the parameters over the last updates: what is evaluated and kept
    opt_state: optax.OptState
    guide: flat_start.Guide


def stream(key: jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """The key of a named stream at a step: turning one off leaves the others as they were."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def init_state(task: TrainContext, config: Config) -> TrainState:
    key = stream(jax.random.key(config.seed), "init")
    return _fresh(crnn.init(task.model, key, config.data), task.optimizer, config.flat_start)


# One program: each of its zeros would be one by itself, at every start.
@functools.partial(jax.jit, static_argnums=(1, 2))
def _fresh(
    params: Any, optimizer: optax.GradientTransformation, config: FlatStartConfig
) -> TrainState:
    average = jax.tree.map(jnp.copy, params)  # the step gives its arguments' memory away
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        average,
        optimizer.init(params),
        flat_start.start(config),
    )


def resume(
    run: run_dir.RunDir,
    checkpoints: Checkpoints,
    fresh: TrainState,
    task: TrainContext,
    config: Config,
) -> tuple[TrainState, Stopping, int, list[Any], float]:
    """Where a run was left: state, early stopping, epochs done, losses since, seconds spent."""
    epoch = checkpoints.latest_epoch()
    like = {"params": fresh.average, "training": training_part(fresh)}
    stopping, seconds, trees = Stopping(), 0.0, None
    if epoch == 0:
        raise RunError(
            f"{run.workdir} was imported and not trained here; start another run from it, with "
            f"--config.train.init_from={run.workdir}"
        )
    if epoch is not None:
        meta, trees = whole(checkpoints, epoch, like)
        check_data(meta, task, checkpoints.directory)
        stopping, seconds = Stopping(*(meta[name] for name in Stopping._fields)), meta["seconds"]
    epoch, losses = epoch or 0, []
    if cut := unfinished.restore(run, epoch + 1, like):
        check_data(cut.meta, task, run.workdir / unfinished.FOLDER)
        trees, losses, seconds = cut.trees, cut.losses, cut.meta["seconds"]
    if trees:
        since = sum(map(len, losses))
        print(f"continuing after epoch {epoch}" + (f" and {since} steps" if since else ""))
        state = TrainState(average=trees["params"], **trees["training"])
        return state, stopping, epoch, losses, seconds
    if source := config.train.init_from:
        params = warm_start.transfer(fresh.params, task.charset, source)
        # A reader needs no guide to the symbols: it would lose the alignment that it has.
        guide = fresh.guide._replace(share=jnp.zeros(()))
        fresh = fresh._replace(params=params, average=jax.tree.map(jnp.copy, params), guide=guide)
    return fresh, stopping, 0, [], 0.0


def whole(
    checkpoints: Checkpoints, epoch: int, like: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and trees of the checkpoint of `epoch`; checks its best epoch's parameters too.

    Raises:
      DamageError: one of the two is damaged. The message names the newest intact epoch.
      RunError: one of the two cannot be read.
    """
    try:
        return _whole(checkpoints, epoch, like)
    except DamageError as error:
        earlier = [e for e in reversed(checkpoints.epochs()) if e < epoch]
        before = next((e for e in earlier if _is_whole(checkpoints, e, like)), None)
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
                "there, with the same result"
            )
        raise DamageError(f"{error}. {offer}") from error


def _whole(
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


def _is_whole(checkpoints: Checkpoints, epoch: int, like: Mapping[str, Any]) -> bool:
    try:
        _whole(checkpoints, epoch, like)
    except RunError:
        return False
    return True


def check_data(meta: Mapping[str, Any], task: TrainContext, directory: Path) -> None:
    """RunError unless a checkpoint is of the data at hand; it names all that changed."""
    changed = [
        f"  {name}: {quote(meta.get(name))} then, {quote(value)} now"
        for name, value in task.identity().items()
        if meta.get(name) != value
    ]
    if changed:
        raise RunError(
            f"the data set is not the one that {directory} was trained on; restore it, or choose "
            "another --workdir\n" + "\n".join(changed)
        )


def save(
    run: run_dir.RunDir,
    checkpoints: Checkpoints,
    epoch: int,
    state: TrainState,
    stopping: Stopping,
    task: TrainContext,
    seconds: float,
) -> None:
    meta = {**task.identity(), **stopping._asdict(), "seconds": seconds}
    checkpoints.save(epoch, state.average, training_part(state), meta, stopping.best_epoch)
    unfinished.clear(run)


def training_part(state: TrainState) -> dict[str, Any]:
    """What a checkpoint holds besides a reader's parameters, which are the average."""
    return {k: v for k, v in state._asdict().items() if k != "average"}


def check_place(run: run_dir.RunDir, now: Mapping[str, Any], elsewhere: bool) -> dict[str, Any]:
    """The environment to be recorded, with those before it of a run that has moved.

    Raises:
      RunError: the run was begun with versions or on a machine that may end in other numbers, and
        `elsewhere` does not allow it.
    """
    then = run.environment()
    changes = provenance.differences(then, now)
    decisive = [text for key, text in changes.items() if provenance.is_decisive(key)]
    if decisive and not elsewhere:
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
