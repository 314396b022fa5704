"""Training: the state, the step, and the loop of one run."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from crnn_jax import config as config_lib
from crnn_jax import dataset, flat_start, lock, logbook, record, tensorboard, unfinished, warm_start
from crnn_jax import model as model_lib
from crnn_jax.augment import augment
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.interrupt import Interruption
from crnn_jax.objective import objective
from crnn_jax.progress import Progress
from crnn_jax.record import Result
from crnn_jax.stopping import Stopping
from crnn_jax.task import Task, prepare


class TrainState(NamedTuple):
    step: jax.Array  # i32, updates done
    params: Any
    average: Any  # of the parameters over the last updates: what is evaluated and kept
    opt_state: optax.OptState
    guide: flat_start.Guide


def train_step(
    state: TrainState,
    images: jax.Array,  # u8 [N, W, H, C]
    labels: jax.Array,  # i32 [N, L]
    indices: jax.Array,  # i32 [B]
    mask: jax.Array,  # bool [B], False for padding
    key: jax.Array,  # of the run
    *,
    model: model_lib.CRNN,
    optimizer: optax.GradientTransformation,
    config: Config,
    num_steps: int,
) -> tuple[TrainState, jax.Array]:
    """One update on a batch, of `num_steps`: the new state, and the mean CTC loss before it."""
    plain = state.guide.share > 0
    pixels = images[indices]
    if config.augment.is_on:
        augment_key = stream(key, "augment", state.step)
        pixels = jax.lax.cond(
            plain,
            lambda x: x.astype(jnp.float32),
            lambda x: augment(augment_key, x, config.augment),
            pixels,
        )
    dropout_key, drop = stream(key, "dropout", state.step), jnp.where(plain, 0.0, 1.0)

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        logits = model_lib.apply_with_dropout(model, params, pixels, dropout_key, drop)
        share = state.guide.share
        return objective(logits, labels[indices], pixels, mask, share, config)

    grads, (loss, guide_loss) = jax.grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A short memory first, so that the average does not drag the initial weights along.
    decay = jnp.minimum(config.train.average_decay, (1 + state.step) / (25 + state.step))
    average = optax.incremental_update(params, state.average, 1 - decay)
    guide = state.guide.advance(
        guide_loss, state.step, model.num_classes, num_steps, config.flat_start
    )
    return TrainState(state.step + 1, params, average, opt_state, guide), loss


def stream(key: jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """The key of a named stream at a step: turning one off leaves the others as they were."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def jitted_step(task: Task, config: Config) -> Callable[..., tuple[TrainState, jax.Array]]:
    step = functools.partial(
        train_step,
        model=task.model,
        optimizer=task.optimizer,
        config=config,
        num_steps=config.train.epochs * task.steps_per_epoch,
    )
    return jax.jit(step, donate_argnums=0)


def init_state(task: Task, config: Config) -> TrainState:
    key = stream(jax.random.key(config.seed), "init")
    params = model_lib.init(task.model, key, config.data)
    average = jax.tree.map(jnp.copy, params)  # the step gives its arguments' memory away
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        average,
        task.optimizer.init(params),
        flat_start.start(config.flat_start),
    )


def train_and_evaluate(config: Config, workdir: str | os.PathLike[str]) -> Result:
    """Trains a reader, or goes on where `workdir` was left, and scores its best weights.

    Raises:
      DataError, RunError: before training starts, for data or a run directory of no use.
      TrainingError: the loss is not finite any more.
      Interrupted: a signal came; the state is saved.
    """
    clock = time.monotonic()
    run = record.Record(workdir)
    if (result := run.result()) is not None:
        return finished(result, run, config)
    task = prepare(config)
    run.open(config)
    with lock.hold(run.workdir), Interruption() as interruption:
        logbook.announce(task)
        best, stopping, epoch, clock = train(run, task, config, clock, interruption)
        return score(run, task, config, best, stopping, epoch, clock)


def train(
    run: record.Record, task: Task, config: Config, clock: float, interruption: Interruption
) -> tuple[Any, Stopping, int, float]:
    """The loop: best parameters, how they were chosen, epochs done, and when all began."""
    state = init_state(task, config)
    step_fn = jitted_step(task, config)
    key = jax.random.key(config.seed)
    patience, weights = config.train.patience, config.train.weights
    last_epoch = min(config.train.epochs, config.train.stop_after or config.train.epochs)
    with Checkpoints(run.checkpoints) as checkpoints:
        state, stopping, epoch, losses, seconds = resume(run, checkpoints, state, task, config)
        logbook.describe(run, task, config, state.params)
        clock -= seconds
        step = epoch * task.steps_per_epoch + len(losses)
        run.rewind_metrics(step)
        with (
            Progress(last_epoch, task.steps_per_epoch, step) as progress,
            tensorboard.mirror(run, config.log.tensorboard),
        ):
            while epoch < last_epoch and not stopping.is_over(epoch, patience):
                epoch += 1
                order = dataset.epoch_order(task.split.train, config.seed, epoch)
                order = order[len(losses) * config.train.batch_size :]
                unlogged: list[tuple[int, jax.Array]] = []
                for indices, mask in dataset.batches(order, config.train.batch_size):
                    state, loss = step_fn(state, task.images, task.labels, indices, mask, key)
                    losses.append(loss)
                    step += 1
                    progress.step()
                    # The loss of the step before: it is done, and the one just sent goes on.
                    for before in unlogged:
                        progress.loss(logbook.log_step(run, task, config, epoch, losses, *before))
                    unlogged = [(step, loss)] if step % config.log.every_steps == 0 else []
                    if interruption.number:
                        break
                for before in unlogged:
                    logbook.log_step(run, task, config, epoch, losses, *before)
                seconds = time.monotonic() - clock
                if interruption.number and step < epoch * task.steps_per_epoch:
                    meta = {**task.identity(), "seconds": seconds}
                    trees = state.average, _training(state)
                    unfinished.save(run, epoch, step, *trees, losses, meta)
                    raise interruption.stop(f"step {step}, in epoch {epoch}")
                evaluation = task.evaluate(state.average)
                seconds = time.monotonic() - clock
                values = logbook.log_epoch(
                    run, task, config, epoch, step, losses, evaluation, seconds
                )
                losses = []
                stopping = stopping.update(epoch, evaluation.loss, task.plateau_loss, weights)
                save(run, checkpoints, epoch, state, stopping, task, values["seconds"])
                progress.epoch(values)
        best = checkpoints.restore(stopping.best_epoch, {"params": state.average})["params"]
    return best, stopping, epoch, clock


def score(
    run: record.Record,
    task: Task,
    config: Config,
    best: Any,
    stopping: Stopping,
    epoch: int,
    clock: float,
) -> Result:
    """Reads the validation part with the best parameters, and writes down how it went."""
    temperature = task.temperature(best)
    evaluation = task.evaluate(best, temperature)
    logbook.warn_of_plateau(task, stopping.left_plateau, evaluation.loss)
    run.write_csv("readings.csv", record.Answer._fields, evaluation.answers)
    run.write_csv("errors.csv", record.Answer._fields, evaluation.misreads)
    result = Result(
        **evaluation.summary(),
        best_epoch=stopping.best_epoch,
        epochs_run=epoch,
        seconds=round(time.monotonic() - clock, 2),
        seed=config.seed,
        params_sha256=model_lib.params_sha256(best),
        data_name=task.data.name,
        fingerprint=task.data.fingerprint,
        num_train=len(task.split.train),
        num_val=len(task.split.val),
        temperature=temperature,
    )
    run.write_json("result.json", dataclasses.asdict(result))
    return result


# ------------------------------------------------------------------ the loop's small steps


def resume(
    run: record.Record, checkpoints: Checkpoints, fresh: TrainState, task: Task, config: Config
) -> tuple[TrainState, Stopping, int, list[Any], float]:
    """Where a run was left: state, early stopping, epochs done, losses since, seconds spent."""
    epoch = checkpoints.latest_epoch()
    like = {"params": fresh.average, "training": _training(fresh)}
    stopping, seconds, trees = Stopping(), 0.0, None
    if epoch == 0:
        raise RunError(
            f"{run.workdir} was imported and not trained here; start another run from it, with "
            f"--config.train.init_from={run.workdir}"
        )
    if epoch is not None:
        meta = checkpoints.meta(epoch)
        check_data(meta, task, checkpoints.directory)
        stopping, seconds = Stopping(*(meta[name] for name in Stopping._fields)), meta["seconds"]
    epoch, losses = epoch or 0, []
    if cut := unfinished.restore(run, epoch + 1, like):
        check_data(cut.meta, task, run.workdir / unfinished.FOLDER)
        trees, losses, seconds = cut.trees, cut.losses, cut.meta["seconds"]
    elif epoch:
        trees = checkpoints.restore(epoch, like)
    if trees:
        print(f"going on after epoch {epoch}" + (f" and {len(losses)} steps" if losses else ""))
        state = TrainState(average=trees["params"], **trees["training"])
        return state, stopping, epoch, losses, seconds
    if source := config.train.init_from:
        params = warm_start.transfer(fresh.params, task.charset, source)
        # A reader needs no guide to the symbols: it would lose the alignment that it has.
        guide = fresh.guide._replace(share=jnp.zeros(()))
        fresh = fresh._replace(params=params, average=jax.tree.map(jnp.copy, params), guide=guide)
    return fresh, stopping, 0, [], 0.0


def check_data(meta: Mapping[str, Any], task: Task, directory: Path) -> None:
    """RunError unless a checkpoint is of the data at hand."""
    for name, value in task.identity().items():
        if meta[name] != value:
            raise RunError(
                f"{directory} was trained with {name} {meta[name]!r}, but the data now give "
                f"{value!r}: the data set changed. Restore it or choose another --workdir"
            )


def save(
    run: record.Record,
    checkpoints: Checkpoints,
    epoch: int,
    state: TrainState,
    stopping: Stopping,
    task: Task,
    seconds: float,
) -> None:
    meta = {**task.identity(), **stopping._asdict(), "seconds": seconds}
    checkpoints.save(epoch, state.average, _training(state), meta, stopping.best_epoch)
    unfinished.clear(run)


def _training(state: TrainState) -> dict[str, Any]:
    """What a checkpoint holds besides a reader's parameters, which are the average."""
    return {k: v for k, v in state._asdict().items() if k != "average"}


def finished(result: Result, run: record.Record, config: Config) -> Result:
    """The result of a run that ended before. RunError if it was of another config or other data."""
    run.open(config)
    # The data may be gone by now, but if they are there they must be the same.
    if os.path.isdir(config.data.dir):
        data = dataset.load(config.data, None, config_lib.num_steps(config))
        if result.fingerprint != data.fingerprint:
            raise RunError(
                f"{run.workdir} is a finished run on other data: {result.data_name}, fingerprint "
                f"{result.fingerprint[:12]}; choose another --workdir"
            )
    print(f"{run.workdir} is finished; nothing is left to do")
    return result
