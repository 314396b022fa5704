"""The training loop of one run or of several in parallel, from the data to the results.

A model of this size leaves most of a GPU idle: most of the time is spent on launching small
operations. Several runs in one program launch these operations once for all runs. A CPU is already
busy with one run, so there parallel runs take longer than sequential ones. Each run has its own
directory, data order, random streams and split, and agrees with the same run alone up to rounding.
The `seconds` of a run include all runs that train in parallel with it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from crnn_jax.config import Config
from crnn_jax.data import resolve
from crnn_jax.errors import TrainingError
from crnn_jax.runs import opening, trackers
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import allocator, hosts, processes
from crnn_jax.runtime.peers import Peers
from crnn_jax.runtime.profile import Profile
from crnn_jax.runtime.signals import SignalWatcher
from crnn_jax.runtime.watchdog import Watchdog
from crnn_jax.training import agreement, calls, groups, run_logging, self_training
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.groups import Failures
from crnn_jax.training.progress import Progress
from crnn_jax.training.resume import resume, save, save_mid_epoch
from crnn_jax.training.run import Run
from crnn_jax.training.scoring import finished, score

_STUCK = (
    "run the same command again to continue from the last checkpoint; with JAX_NUM_CPU_DEVICES=1, "
    "no device waits for another"
)


class Controls(NamedTuple):
    """What can stop, record or watch the steps of a loop."""

    watcher: SignalWatcher
    profile: Profile
    watchdog: Watchdog


def train_and_evaluate(
    config: Config,
    workdir: str | os.PathLike[str],
    allow_environment_change: bool = False,
    profiled_steps: int = 0,
) -> Result:
    """Trains one run, or continues the run in `workdir`, and scores its best parameters.

    Args:
      config: the config of the run.
      workdir: the run directory.
      allow_environment_change: continue although package versions or the machine have changed.
      profiled_steps: how many steps to profile, see `Profile`.

    Raises:
      DataError, RunError: before training starts, for unusable data or an unusable run directory.
      DeviceError: JAX cannot compute in this process.
      TrainingError: the loss is not finite, or no unlabeled image can be read.
      Interrupted: a signal was received; the state is saved.
    """
    return train_all([config], [workdir], allow_environment_change, profiled_steps)[0]


def train_all(
    configs: Sequence[Config],
    workdirs: Sequence[str | os.PathLike[str]],
    allow_environment_change: bool = False,
    profiled_steps: int = 0,
) -> list[Result]:
    """Like `train_and_evaluate`, for several runs.

    Runs that differ only in seed, fold and learning rate share a compiled step.

    Raises:
      CrnnError: the first error of a run, as from `train_and_evaluate`; the other runs are
        complete.
      ConfigError: a run of several processes needs something that only one process can do.
    """
    processes.check()  # before a directory is claimed
    processes.check_precision()
    with Peers() as peers, Watchdog(_STUCK, peers.others_wait) as watchdog:
        peers.is_waiting = watchdog.is_waiting
        with peers.explaining():
            results = _train_all(
                configs, workdirs, allow_environment_change, profiled_steps, watchdog
            )
            hosts.barrier()
    return results


def _train_all(
    configs: Sequence[Config],
    workdirs: Sequence[str | os.PathLike[str]],
    allow_environment_change: bool,
    profiled_steps: int,
    watchdog: Watchdog,
) -> list[Result]:
    start = time.monotonic()
    dirs = [RunDir(workdir, writes=hosts.is_first()) for workdir in workdirs]
    failures = Failures(len(dirs))
    results: dict[Path, Result] = {}
    todo = []
    for directory, config in zip(dirs, configs, strict=True):
        with failures.of(directory):
            if hosts.share(directory.result() is not None):
                results[directory.workdir] = finished(directory, config)
            else:
                todo.append((directory, resolve.resolve(config)))

    def prepared(config: Config) -> TrainContext:
        context = prepare(config)
        agreement.check(context, len(dirs))
        return context

    turns = groups.turns(todo, prepared, failures)
    group = next(turns, None)  # before signals are recorded: loading can be stopped at once
    # Around all groups, so that a signal while one is scored stops the next.
    with SignalWatcher() as watcher:
        while group:
            steps = profiled_steps if hosts.is_first() else 0
            # An error that concerns no member alone ends this group only.
            with Profile(steps) as profile, failures.of(group[0][0]):
                controls = Controls(watcher, profile, watchdog)
                results |= _train_group(group, controls, start, allow_environment_change, failures)
            del group
            start = time.monotonic()  # the time of the next runs is their own
            group = next(turns, None)
            if group and watcher.number:
                raise watcher.stop(f"after {len(results)} of {len(dirs)} runs")
    if failures.errors:
        raise failures.errors[0]
    return [results[directory.workdir] for directory in dirs]


def _train_group(
    group: Sequence[groups.Member],
    controls: Controls,
    start: float,
    allow_environment_change: bool,
    failures: Failures,
) -> dict[Path, Result]:
    """Trains and scores runs that can share a compiled step. Returns their results."""
    results: dict[Path, Result] = {}
    with contextlib.ExitStack() as stack:
        runs = []
        for directory, context in groups.side_by_side(group):
            with failures.of(directory), contextlib.ExitStack() as own:
                own.enter_context(opening.take(directory, context.config))
                if hosts.share(directory.result() is not None):  # another process ended it
                    results[directory.workdir] = finished(directory, context.config)
                    continue
                run_logging.announce(context)
                checkpoints = own.enter_context(Checkpoints(directory.checkpoints))
                run = resume(directory, context, checkpoints, start, allow_environment_change)
                own.enter_context(trackers.mirror(directory, context.config.log.trackers))
                runs.append(run)
                stack.push(own.pop_all())
        if runs:
            train(runs, controls)
        for run in runs:
            if run.error and len(runs) > 1:
                failures.keep(run.error)
                continue
            with failures.of(run.dir):
                if run.error:
                    raise run.error
                results[run.dir.workdir] = score(run)
    return results


def train(runs: Sequence[Run], controls: Controls) -> None:
    """Trains the runs to their last epochs. Runs at the same step of an epoch train in parallel.

    A run that cannot go on gets an `error` and ends; the others go on.

    Raises:
      Interrupted: a signal was received; all runs are saved.
      TrainingError, RunError: images without labels cannot be read; see `self_training.renew`.
    """
    with Progress(runs) as progress:
        while active := [run for run in runs if not run.is_over]:
            self_training.renew(active[0], controls.watcher)
            # Those in the middle of an epoch catch up with the others first.
            most = max(run.steps_since for run in active)
            abreast = [run for run in active if run.steps_since == most]
            run_epoch(abreast, progress, controls)
            for run in abreast:
                end_epoch(run, progress)
                if run.error and len(runs) > 1:
                    print(f"{run.dir.workdir}: {run.error}", flush=True)
            if stopped := [run for run in abreast if run.steps_since and not run.error]:
                where = f"after step {stopped[0].step}, in epoch {stopped[0].epoch + 1}"
                more = f" of the first of {len(stopped)} runs" if len(stopped) > 1 else ""
                raise controls.watcher.stop(where + more)


def run_epoch(runs: Sequence[Run], progress: Progress, controls: Controls) -> None:
    """Trains runs until the end of their epochs, or until a signal.

    All runs must be at the same step of their epochs.
    """
    watcher, profile, watchdog = controls
    hosts.barrier()  # Gloo lets a step wait for another process for 30 s only
    steps, state, inputs = calls.stack_runs(runs)
    before = None  # the losses of the previous call
    first = runs[0].step
    for call, batch in enumerate(calls.batches(runs)):
        with watchdog.waiting(), profile.call(first, runs[0].dir.workdir):
            state, latest = steps(state, batch, inputs)
            jax.block_until_ready(before)  # at most two calls are in flight
        progress.steps(batch.mask.shape[-2])
        first += batch.mask.shape[-2]
        if before is not None:
            record_losses(runs, before, progress)
        before = latest
        if watcher.was_received(call) or all(run.error for run in runs):
            break
    with watchdog.waiting():
        jax.block_until_ready(before)
    record_losses(runs, before, progress)
    for run, own in zip(runs, calls.unstack_runs(state, runs), strict=True):
        run.state = own


def record_losses(runs: Sequence[Run], losses: Any, progress: Progress) -> None:
    """Stores the losses of a call, f32 [S] or [R, S], and logs one in `log.every_steps`."""
    for run, values in zip(runs, jax.device_get(losses).reshape(len(runs), -1), strict=True):
        first = run.step + 1
        run.losses.append(values)
        for step, loss in enumerate(values.tolist(), first):
            if step % run.config.log.every_steps == 0 and not run.error:
                try:
                    run_logging.log_step(run, step, loss)
                except TrainingError as error:
                    run.error = error
                progress.loss(loss)


def end_epoch(run: Run, progress: Progress) -> None:
    """Evaluates, logs and saves a run after an epoch. Only saves a run that was interrupted."""
    if run.error:
        return
    if run.steps_since < run.context.steps_per_epoch:
        if np.isfinite(np.concatenate(run.losses)).all():
            save_mid_epoch(run)
        else:
            run.error = run_logging.report_not_finite(run)
        return
    if run.context.records:  # then memory is scarce and epochs are long
        allocator.return_memory()
    evaluation = run.context.evaluate(run.ema)
    # Rounding may differ between hosts, and the loss decides what is saved and when a run stops.
    evaluation = evaluation._replace(loss=hosts.share(evaluation.loss))
    try:
        values = run_logging.log_epoch(run, evaluation)
    except TrainingError as error:
        run.error = error
        return
    run.epoch, run.losses = run.epoch + 1, []
    run.stopping = run.stopping.update(
        run.epoch, evaluation.loss, run.context.plateau_loss, run.config.train.checkpoint_selection
    )
    save(run, values["seconds"])
    progress.epoch(run, values)
