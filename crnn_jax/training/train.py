"""Training: the loop of one run, from its data to its result."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import jax

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.data import batching, folder, sources
from crnn_jax.errors import RunError, one_line
from crnn_jax.models import crnn
from crnn_jax.runs import opening, provenance, run_dir, tensorboard, unfinished
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import Result
from crnn_jax.runtime import backend
from crnn_jax.runtime.data_parallel import one
from crnn_jax.runtime.signals import Interruption
from crnn_jax.runtime.watchdog import Watchdog
from crnn_jax.training import run_logging
from crnn_jax.training import step as step_lib
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.progress import Progress
from crnn_jax.training.state import (
    TrainState,
    check_place,
    init_state,
    resume,
    save,
    training_part,
)
from crnn_jax.training.step import Batch, jitted_steps

_STUCK = (
    "the same command goes on from the last checkpoint, and with JAX_NUM_CPU_DEVICES=1 no device "
    "waits for another"
)


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
    config = folder.resolve(config)
    run = run_dir.RunDir(workdir)
    if (result := run.result()) is not None:
        return finished(result, run, config)
    task = prepare(config)
    with opening.take(run, config), Interruption() as interruption:
        if (result := run.result()) is not None:  # another process ended it in the meantime
            return finished(result, run, config)
        run_logging.announce(task, config)
        best, stopping, epoch, clock = train(run, task, config, clock, interruption, elsewhere)
        return score(run, task, config, best, stopping, epoch, clock)


def train(
    run: run_dir.RunDir,
    task: TrainContext,
    config: Config,
    clock: float,
    interruption: Interruption,
    elsewhere: bool,
) -> tuple[Any, Stopping, int, float]:
    """The loop: best parameters, how they were chosen, epochs done, and when all began."""
    steps, constants = jitted_steps(task), step_lib.constants(task)
    patience, weights = config.train.patience, config.train.weights
    per_call = backend.choices().steps
    last_epoch = min(config.train.epochs, config.train.stop_after or config.train.epochs)
    with Checkpoints(run.checkpoints) as checkpoints:
        state, stopping, epoch, losses, seconds = begin(run, checkpoints, task, config, elsewhere)
        clock -= seconds
        step = epoch * task.steps_per_epoch + sum(map(len, losses))
        state = task.devices.replicate(state)
        with (
            Progress(last_epoch, task.steps_per_epoch, step) as progress,
            tensorboard.mirror(run, config.log.tensorboard),
            Watchdog(_STUCK) as watchdog,
        ):
            while epoch < last_epoch and not stopping.is_over(epoch, patience):
                done = step - epoch * task.steps_per_epoch
                epoch += 1
                order = task.order(config.seed, epoch)[done * config.train.batch_size :]
                unlogged: list[tuple[int, jax.Array]] = []
                for indices, mask in batching.calls(order, config.train.batch_size, per_call):
                    with watchdog.waiting():
                        batch = Batch(*task.batch(indices), mask)
                        state, latest = steps(state, batch, constants)
                        losses.append(latest)
                        jax.block_until_ready(losses[-2:-1])  # at most two calls are in flight
                    progress.steps(len(indices))
                    # The losses of the call before: it is done, and the one just sent goes on.
                    for before in unlogged:
                        progress.loss(
                            run_logging.log_step(run, task, config, epoch, losses, *before)
                        )
                    numbers = range(step + 1, step + 1 + len(indices))
                    step += len(indices)
                    unlogged = [
                        (number, latest[i])
                        for i, number in enumerate(numbers)
                        if number % config.log.every_steps == 0
                    ]
                    if interruption.number:
                        break
                for before in unlogged:
                    run_logging.log_step(run, task, config, epoch, losses, *before)
                seconds, kept = time.monotonic() - clock, one(state)
                if interruption.number and step < epoch * task.steps_per_epoch:
                    meta = {**task.identity(), "seconds": seconds}
                    trees = kept.average, training_part(kept)
                    unfinished.save(run, epoch, step, *trees, losses, meta)
                    raise interruption.stop(f"step {step}, in epoch {epoch}")
                evaluation = task.evaluate(kept.average)
                seconds = time.monotonic() - clock
                values = run_logging.log_epoch(
                    run, task, config, epoch, step, losses, evaluation, seconds
                )
                losses = []
                stopping = stopping.update(epoch, evaluation.loss, task.plateau_loss, weights)
                save(run, checkpoints, epoch, kept, stopping, task, values["seconds"])
                progress.epoch(values)
        best = checkpoints.restore(stopping.best_epoch, {"params": one(state.average)})["params"]
    return best, stopping, epoch, clock


def begin(
    run: run_dir.RunDir,
    checkpoints: Checkpoints,
    task: TrainContext,
    config: Config,
    elsewhere: bool,
) -> tuple[TrainState, Stopping, int, list[Any], float]:
    """Where a run is, as `state.resume` has it; its record is brought to there."""
    fresh = init_state(task, config)
    state, stopping, epoch, losses, seconds = resume(run, checkpoints, fresh, task, config)
    place = provenance.here(f"{d.platform} {d.device_kind}" for d in jax.devices())
    if epoch or losses:
        place = check_place(run, place, elsewhere)
    run_logging.describe(run, task, config, state.params, place)
    run.rewind_metrics(epoch * task.steps_per_epoch + sum(map(len, losses)))
    return state, stopping, epoch, losses, seconds


def score(
    run: run_dir.RunDir,
    task: TrainContext,
    config: Config,
    best: Any,
    stopping: Stopping,
    epoch: int,
    clock: float,
) -> Result:
    """Reads the validation part with the best parameters, and writes down how it went."""
    temperature = task.temperature(best)
    evaluation = task.evaluate(best, temperature)
    run_logging.warn_of_plateau(task, stopping.left_plateau, evaluation.loss)
    run.write_csv("readings.csv", run_dir.Answer._fields, evaluation.answers)
    run.write_csv("errors.csv", run_dir.Answer._fields, evaluation.misreads)
    result = Result(
        **evaluation.summary(),
        best_epoch=stopping.best_epoch,
        epochs_run=epoch,
        seconds=round(time.monotonic() - clock, 2),
        seed=config.seed,
        params_sha256=crnn.params_sha256(best),
        data_name=task.data.name,
        fingerprint=task.data.fingerprint,
        num_train=len(task.split.train),
        num_val=len(task.split.val),
        temperature=temperature,
    )
    run.write_json("result.json", dataclasses.asdict(result))
    return result


def finished(result: Result, run: run_dir.RunDir, config: Config) -> Result:
    """The result of a run that ended before. RunError if it was of another config or other data."""
    run.open(config)
    # The data may be gone by now, but if they are there they must be the same.
    found = sources.expected_fingerprint(config.data, config_lib.num_steps(config))
    if found not in (None, result.fingerprint):
        raise RunError(
            f"{run.workdir} is a finished run on other data: {one_line(result.data_name)}, "
            f"fingerprint {result.fingerprint[:12]}; choose another --workdir"
        )
    print(f"{run.workdir} is finished; nothing is left to do")
    return result
