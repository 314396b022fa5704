"""Runs side by side in one program: seeds or folds of one variant, for an accelerator.

A model of this size leaves most of a GPU idle, and its time goes to the launching of small
operations; `jax.vmap` over runs launches them once for all. On a CPU, which is busy with one, it
takes longer than one run after the other. Each run keeps a directory of its own, with the data
order, streams and split that it would have alone, and may go on alone; its numbers agree with
those of the run alone up to rounding. `seconds` are those of all that train together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.config import Config
from crnn_jax.data import batching, folder
from crnn_jax.errors import TrainingError
from crnn_jax.runs import opening, run_dir, tensorboard, unfinished
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import Result
from crnn_jax.runtime import backend
from crnn_jax.runtime.data_parallel import ONE, one
from crnn_jax.runtime.signals import Interruption
from crnn_jax.training import run_logging
from crnn_jax.training import step as step_lib
from crnn_jax.training import train as train_lib
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.state import TrainState, save
from crnn_jax.training.step import Batch, jitted_steps_of_runs


@dataclasses.dataclass
class Member:
    """One of the runs, between epochs."""

    run: run_dir.RunDir
    task: TrainContext
    config: Config
    checkpoints: Checkpoints
    state: TrainState
    stopping: Stopping
    epoch: int  # done
    clock: float  # when it would have begun, had it never stopped
    error: TrainingError | None = None

    @property
    def last_epoch(self) -> int:
        return min(self.config.train.epochs, self.config.train.stop_after or 10**9)

    @property
    def is_over(self) -> bool:
        over = self.stopping.is_over(self.epoch, self.config.train.patience)
        return self.error is not None or self.epoch >= self.last_epoch or over


def train_and_evaluate(
    configs: Sequence[Config], workdirs: Sequence[str | os.PathLike[str]], elsewhere: bool = False
) -> list[Result]:
    """As `train.train_and_evaluate` for each of several runs, which differ in seed and fold.

    Those that have begun an epoch, read a stream or are of another shape train alone.

    Raises:
      TrainingError: the loss of a run was not finite; the others have ended well.
    """
    clock = time.monotonic()
    results: dict[Path, Result] = {}
    errors: list[TrainingError] = []
    groups: dict[Any, list[tuple[Path, Config, TrainContext | None]]] = {}
    paths = [Path(workdir) for workdir in workdirs]
    for path, config in zip(paths, map(folder.resolve, configs), strict=True):
        begun = (path / unfinished.FOLDER).is_dir()
        task = None if begun or run_dir.RunDir(path).result() else prepare(config)
        shape = _shape(task, config) if task and task.stream is None else path
        groups.setdefault(shape, []).append((path, config, task))
    for group in groups.values():
        if len(group) > 1:
            found, wrong = _train(group, clock, elsewhere)
            results |= found
            errors += wrong
            continue
        path, config, _ = group[0]
        try:
            results[path] = train_lib.train_and_evaluate(config, path, elsewhere)
        except TrainingError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return [results[path] for path in paths]


def _shape(task: TrainContext, config: Config) -> Any:
    """What runs that share a program have in common: all but seed, fold and their moments."""
    data = dataclasses.replace(config.data, fold=0, split_seed=0)
    alike = dataclasses.replace(config, seed=0, data=data)
    return (
        alike,
        task.model.network,
        task.model.each_picture,
        task.steps_per_epoch,
        task.data.fingerprint,
    )


def _train(
    group: Sequence[tuple[Path, Config, Any]], clock: float, elsewhere: bool
) -> tuple[dict[Path, Result], list[TrainingError]]:
    """Takes the runs of one shape to their ends: results, and what went wrong with the others."""
    with contextlib.ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        images, members = one(group[0][2].images), []
        for path, config, task in group:
            task = task._replace(devices=ONE, images=images, labels=one(task.labels))
            run = run_dir.RunDir(path)
            stack.enter_context(opening.take(run, config))
            run_logging.announce(task, config)
            checkpoints = stack.enter_context(Checkpoints(run.checkpoints))
            where = train_lib.begin(run, checkpoints, task, config, elsewhere)
            state, stopping, epoch, _, seconds = where
            stack.enter_context(tensorboard.mirror(run, config.log.tensorboard))
            start = clock - seconds
            members.append(Member(run, task, config, checkpoints, state, stopping, epoch, start))
        print(f"{len(members)} runs side by side", flush=True)
        while active := [member for member in members if not member.is_over]:
            losses = _epoch(active)
            for member, its_losses in zip(active, losses, strict=True):
                try:
                    _end_epoch(member, its_losses)
                except TrainingError as error:
                    print(f"{member.run.workdir}: {error}", flush=True)
                    member.error = error
            if interruption.number:
                raise interruption.stop("an epoch of each run")
        results = {m.run.workdir: _score(m) for m in members if not m.error}
    return results, [m.error for m in members if m.error]


def _epoch(members: Sequence[Member]) -> np.ndarray:
    """Takes each member through its next epoch; the losses of the steps, f32 [R, S]."""
    task, config = members[0].task, members[0].config
    steps = jitted_steps_of_runs(task)
    state, constants = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        for trees in zip(*[(m.state, step_lib.constants(m.task)) for m in members], strict=True)
    )
    orders = [m.task.order(m.config.seed, m.epoch + 1) for m in members]
    size, per_call = config.train.batch_size, backend.choices().steps
    losses = []
    for batches in zip(*[batching.calls(order, size, per_call) for order in orders], strict=True):
        indices, mask = (np.stack(arrays) for arrays in zip(*batches, strict=True))  # [R, S, B]
        state, latest = steps(state, Batch(task.images, task.labels, indices, mask), constants)
        losses.append(latest)
    for i, member in enumerate(members):
        member.state = jax.tree.map(lambda leaf, i=i: leaf[i], state)
    return np.concatenate(jax.device_get(losses), axis=1)


def _end_epoch(member: Member, losses: np.ndarray) -> None:
    """Writes down an epoch, of f32 [S] losses, and keeps the state after it."""
    run, task, config = member.run, member.task, member.config
    member.epoch += 1
    step = member.epoch * task.steps_per_epoch
    for i, loss in enumerate(losses, step - len(losses) + 1):
        if i % config.log.every_steps == 0:
            run_logging.log_step(run, task, config, member.epoch, [losses], i, loss)
    evaluation = task.evaluate(member.state.average)
    seconds = time.monotonic() - member.clock
    values = run_logging.log_epoch(
        run, task, config, member.epoch, step, [losses], evaluation, seconds
    )
    member.stopping = member.stopping.update(
        member.epoch, evaluation.loss, task.plateau_loss, config.train.weights
    )
    save(
        run,
        member.checkpoints,
        member.epoch,
        member.state,
        member.stopping,
        task,
        values["seconds"],
    )
    print(
        f"{run.workdir}: epoch {member.epoch}/{member.last_epoch}  loss {values['loss']:.4f}  "
        f"val_loss {values['val_loss']:.4f}  exact match {values['exact_match']:.2%}",
        flush=True,
    )


def _score(member: Member) -> Result:
    like = {"params": member.state.average}
    best = member.checkpoints.restore(member.stopping.best_epoch, like)["params"]
    arguments = member.run, member.task, member.config, best, member.stopping, member.epoch
    return train_lib.score(*arguments, member.clock)
