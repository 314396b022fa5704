"""Training: the state, the step, and the loop of one run."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from crnn_jax import (
    compiler,
    dataset,
    environment,
    lock,
    logbook,
    record,
    sources,
    tensorboard,
    unfinished,
)
from crnn_jax import config as config_lib
from crnn_jax import model as model_lib
from crnn_jax.augment import augment
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.interrupt import Interruption
from crnn_jax.objective import objective
from crnn_jax.progress import Progress
from crnn_jax.record import Result
from crnn_jax.state import (
    TrainState,
    check_place,
    init_state,
    resume,
    save,
    stream,
    training_part,
)
from crnn_jax.stopping import Stopping
from crnn_jax.task import Task, prepare


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


def jitted_step(task: Task, config: Config) -> Callable[..., tuple[TrainState, jax.Array]]:
    """`train_step` of a run: traced and compiled once in a process, however often it goes on."""
    num_steps = config.train.epochs * task.steps_per_epoch
    return _jitted_step(task.model, task.optimizer, config, num_steps)


@functools.lru_cache(maxsize=4)
def _jitted_step(
    model: model_lib.CRNN, optimizer: optax.GradientTransformation, config: Config, num_steps: int
) -> Callable[..., tuple[TrainState, jax.Array]]:
    step = functools.partial(
        train_step, model=model, optimizer=optimizer, config=config, num_steps=num_steps
    )
    options = compiler.options(compiler.TRAINING)
    return jax.jit(step, donate_argnums=0, compiler_options=options)


def train_and_evaluate(
    config: Config, workdir: str | os.PathLike[str], elsewhere: bool = False
) -> Result:
    """Trains a reader, or goes on where `workdir` was left, and scores its best weights.

    Args:
      config: of the run.
      workdir: its directory.
      elsewhere: go on although versions or machine are others than the run began with.

    Raises:
      DataError, RunError: before training starts, for data or a run directory of no use.
      TrainingError: the loss is not finite any more.
      Interrupted: a signal came; the state is saved.
    """
    clock = time.monotonic()
    config = dataset.resolve(config)
    run = record.Record(workdir)
    if (result := run.result()) is not None:
        return finished(result, run, config)
    task = prepare(config)
    run.open(config)
    with lock.hold(run.workdir), Interruption() as interruption:
        logbook.announce(task, config)
        best, stopping, epoch, clock = train(run, task, config, clock, interruption, elsewhere)
        return score(run, task, config, best, stopping, epoch, clock)


def train(
    run: record.Record,
    task: Task,
    config: Config,
    clock: float,
    interruption: Interruption,
    elsewhere: bool,
) -> tuple[Any, Stopping, int, float]:
    """The loop: best parameters, how they were chosen, epochs done, and when all began."""
    fresh = init_state(task, config)
    step_fn = jitted_step(task, config)
    key = jax.random.key(config.seed)
    patience, weights = config.train.patience, config.train.weights
    last_epoch = min(config.train.epochs, config.train.stop_after or config.train.epochs)
    with Checkpoints(run.checkpoints) as checkpoints:
        state, stopping, epoch, losses, seconds = resume(run, checkpoints, fresh, task, config)
        place = environment.here(f"{d.platform} {d.device_kind}" for d in jax.devices())
        if epoch or losses:
            place = check_place(run, place, elsewhere)
        logbook.describe(run, task, config, state.params, place)
        clock -= seconds
        step = epoch * task.steps_per_epoch + len(losses)
        run.rewind_metrics(step)
        with (
            Progress(last_epoch, task.steps_per_epoch, step) as progress,
            tensorboard.mirror(run, config.log.tensorboard),
        ):
            while epoch < last_epoch and not stopping.is_over(epoch, patience):
                epoch += 1
                order = task.order(config.seed, epoch)
                order = order[len(losses) * config.train.batch_size :]
                unlogged: list[tuple[int, jax.Array]] = []
                for indices, mask in dataset.batches(order, config.train.batch_size):
                    state, loss = step_fn(state, *task.batch(indices), mask, key)
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
                    trees = state.average, training_part(state)
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


def finished(result: Result, run: record.Record, config: Config) -> Result:
    """The result of a run that ended before. RunError if it was of another config or other data."""
    run.open(config)
    # The data may be gone by now, but if they are there they must be the same.
    found = sources.expected_fingerprint(config.data, config_lib.num_steps(config))
    if found not in (None, result.fingerprint):
        raise RunError(
            f"{run.workdir} is a finished run on other data: {result.data_name}, fingerprint "
            f"{result.fingerprint[:12]}; choose another --workdir"
        )
    print(f"{run.workdir} is finished; nothing is left to do")
    return result
