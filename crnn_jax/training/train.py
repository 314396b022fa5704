"""The training loop of one run or of several in parallel, from the data to the results.

A model of this size leaves most of a GPU idle: most of the time is spent on launching small
operations. Several runs in one program launch these operations once for all runs. A CPU is already
busy with one run, so there parallel runs take longer than sequential ones. Each run has its own
directory, data order, random streams and split, and agrees with the same run alone up to rounding.
The `seconds` of a run include all runs that train in parallel with it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.config import Config
from crnn_jax.data import resolve
from crnn_jax.errors import TrainingError
from crnn_jax.runs import opening, trackers
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import allocator, hosts, processes
from crnn_jax.runtime.data_parallel import ONE, one
from crnn_jax.runtime.peers import Peers
from crnn_jax.runtime.profile import Profile
from crnn_jax.runtime.signals import Interruption
from crnn_jax.runtime.watchdog import Watchdog
from crnn_jax.training import agreement, run_logging, self_training
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.progress import Progress
from crnn_jax.training.resume import resume, save, save_mid_epoch
from crnn_jax.training.run import Run
from crnn_jax.training.scoring import finished, score
from crnn_jax.training.step import Batch, jitted_steps, jitted_steps_of_runs

_STUCK = (
    "run the same command again to continue from the last checkpoint; with JAX_NUM_CPU_DEVICES=1, "
    "no device waits for another"
)


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
      Interrupted: a signal came; the state is saved.
    """
    return train_all([config], [workdir], allow_environment_change, profiled_steps)[0]


def train_all(
    configs: Sequence[Config],
    workdirs: Sequence[str | os.PathLike[str]],
    allow_environment_change: bool = False,
    profiled_steps: int = 0,
) -> list[Result]:
    """Like `train_and_evaluate`, for several runs.

    Runs that differ only in seed and fold share a compiled step.

    Raises:
      TrainingError: of a run, as from `train_and_evaluate`; the other runs are complete.
      ConfigError: a run of several processes needs something that only one process can do.
    """
    processes.check()  # before a directory is claimed
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
    results: dict[Path, Result] = {}
    groups: dict[Any, list[tuple[RunDir, TrainContext]]] = {}
    for directory, config in zip(dirs, map(resolve.resolve, configs), strict=True):
        if hosts.share(directory.result() is not None):
            results[directory.workdir] = finished(directory, config)
        else:
            context = prepare(config)
            agreement.check(context, len(dirs))
            alone = context.stream or context.records or len(context.split.unlabeled)
            alike = directory.workdir if alone else context.alike()
            group = groups.setdefault(alike, [])
            if group:  # one copy of the images
                first = group[0][1]
                context = context._replace(
                    data=first.data, images=first.images, labels=first.labels
                )
            group.append((directory, context))
    errors: list[TrainingError] = []
    # Around all groups, so that a signal while one is scored stops the next.
    with Interruption() as interruption:
        while groups:
            group = groups.pop(next(iter(groups)))
            with Profile(profiled_steps if hosts.is_first() else 0) as profile:
                trained, failed = _train_group(
                    group, interruption, profile, watchdog, start, allow_environment_change
                )
            results |= trained
            errors += failed
            if groups and interruption.number:
                raise interruption.stop(f"{len(results)} of {len(dirs)} runs")
            start = time.monotonic()  # the time of the next runs is their own
    if errors:
        raise errors[0]
    return [results[directory.workdir] for directory in dirs]


def _train_group(
    group: Sequence[tuple[RunDir, TrainContext]],
    interruption: Interruption,
    profile: Profile,
    watchdog: Watchdog,
    start: float,
    allow_environment_change: bool,
) -> tuple[dict[Path, Result], list[TrainingError]]:
    """Trains and scores runs that can share a compiled step. Returns the results and the errors."""
    results: dict[Path, Result] = {}
    with contextlib.ExitStack() as stack:
        runs = []
        for directory, context in side_by_side(group):
            stack.enter_context(opening.take(directory, context.config))
            if hosts.share(directory.result() is not None):  # another process ended it
                results[directory.workdir] = finished(directory, context.config)
                continue
            run_logging.announce(context)
            checkpoints = stack.enter_context(Checkpoints(directory.checkpoints))
            runs.append(resume(directory, context, checkpoints, start, allow_environment_change))
            stack.enter_context(trackers.mirror(directory, context.config.log.trackers))
        train(runs, interruption, profile, watchdog)
        results |= {run.dir.workdir: score(run) for run in runs if not run.error}
        return results, [run.error for run in runs if run.error]


def train(
    runs: Sequence[Run], interruption: Interruption, profile: Profile, watchdog: Watchdog
) -> None:
    """Trains the runs to their last epochs. Runs at the same step of an epoch train in parallel.

    A run that cannot go on gets an `error` and ends; the others go on.

    Raises:
      Interrupted: a signal came; all runs are saved.
    """
    with Progress(runs) as progress:
        while active := [run for run in runs if not run.is_over]:
            self_training.renew(active[0])
            if active[0].error:
                continue
            abreast = [run for run in active if run.steps_since == active[0].steps_since]
            run_epoch(abreast, progress, watchdog, interruption, profile)
            for run in abreast:
                end_epoch(run, progress)
                if run.error and len(runs) > 1:
                    print(f"{run.dir.workdir}: {run.error}", flush=True)
            if stopped := [run for run in abreast if run.steps_since and not run.error]:
                where = f"step {stopped[0].step}, in epoch {stopped[0].epoch + 1}"
                more = f" of the first of {len(stopped)} runs" if len(stopped) > 1 else ""
                raise interruption.stop(where + more)


def run_epoch(
    runs: Sequence[Run],
    progress: Progress,
    watchdog: Watchdog,
    interruption: Interruption,
    profile: Profile,
) -> None:
    """Trains runs until the end of their epochs, or until a signal.

    All runs must be at the same step of their epochs.
    """
    steps, state, inputs = compiled(runs)
    before = None  # the losses of the previous call
    first = runs[0].step
    for call, batch in enumerate(batches(runs)):
        with watchdog.waiting(), profile.call(first, runs[0].dir.workdir):
            state, latest = steps(state, batch, inputs)
            jax.block_until_ready(before)  # at most two calls are in flight
        progress.steps(batch.mask.shape[-2])
        first += batch.mask.shape[-2]
        if before is not None:
            note(runs, before, progress)
        before = latest
        if interruption.has_come(call) or all(run.error for run in runs):
            break
    with watchdog.waiting():
        jax.block_until_ready(before)
    note(runs, before, progress)
    for i, run in enumerate(runs):
        run.state = jax.tree.map(functools.partial(row, i=i), state) if len(runs) > 1 else state


def row(leaf: jax.Array, i: int) -> jax.Array:
    """Returns leaf[i], without copying `i` to the device as jax's indexing does."""
    return jax.lax.index_in_dim(leaf, i, keepdims=False)


def note(runs: Sequence[Run], losses: Any, progress: Progress) -> None:
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
        save_mid_epoch(run)
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


def compiled(runs: Sequence[Run]) -> tuple[Any, Any, Any]:
    """Returns the compiled steps, the state and the constants; several runs add a leading axis."""
    each = [(run.state, run.constants) for run in runs]
    if len(runs) == 1:
        return jitted_steps(runs[0].context), *each[0]
    state, inputs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return jitted_steps_of_runs(runs[0].context), state, inputs


def batches(runs: Sequence[Run]) -> Iterator[Batch]:
    """Yields the remaining calls of an epoch. For several runs, indices and mask are [R, S, B]."""
    context = runs[0].context
    calls: Iterable[Any] = runs[0].calls()
    if len(runs) > 1:
        calls = (
            map(np.stack, zip(*c, strict=True))
            for c in zip(*[r.calls() for r in runs], strict=True)
        )
    for images, labels, indices, mask in context.batches(calls):
        # Copied explicitly, because the tests of this loop forbid implicit transfers.
        yield Batch(images, labels, *context.devices.replicate((indices, mask)))


def side_by_side(
    group: Sequence[tuple[RunDir, TrainContext]],
) -> list[tuple[RunDir, TrainContext]]:
    """Puts several runs on one device with one copy of the images. One run is unchanged."""
    if len(group) == 1:
        return list(group)
    print(f"{len(group)} runs side by side", flush=True)
    images = one(group[0][1].images)
    return [
        (directory, context._replace(devices=ONE, images=images, labels=one(context.labels)))
        for directory, context in group
    ]
