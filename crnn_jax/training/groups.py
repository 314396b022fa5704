"""Which runs of a call train together, and what happens if one of them fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crnn_jax.config import Config
from crnn_jax.errors import CrnnError
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import hosts
from crnn_jax.runtime.data_parallel import SINGLE_DEVICE, first_shard
from crnn_jax.runtime.signals import Interrupted
from crnn_jax.training.context import TrainContext

Member = tuple[RunDir, TrainContext]


class Failures:
    """The errors of runs. If there are several runs, an error of one does not stop the others."""

    def __init__(self, num_runs: int):
        self.errors: list[CrnnError] = []
        self._are_kept = num_runs > 1

    @contextlib.contextmanager
    def of(self, run: RunDir) -> Iterator[None]:
        """Prints and keeps an error that concerns one of several runs."""
        try:
            yield
        except CrnnError as error:
            if not self._are_kept or isinstance(error, Interrupted):
                raise
            print(f"{run.workdir}: {error}", flush=True)
            self.keep(error)

    def keep(self, error: CrnnError) -> None:
        """Keeps an error that was printed."""
        self.errors.append(error.with_traceback(None))  # whose frames hold the images of the run


def turns(
    todo: Sequence[tuple[RunDir, Config]],
    prepare: Callable[[Config], TrainContext],
    failures: Failures,
) -> Iterator[list[Member]]:
    """Yields the runs that share a compiled step, with one copy of the images for all of them.

    A run that shares nothing is prepared when its turn comes, so that the images of only one such
    run are in memory.
    """
    together: dict[Any, list[Member]] = {}
    alone = []
    for directory, config in todo:
        if _is_alone(config) and len(todo) > 1:
            alone.append((directory, config))
            continue
        with failures.of(directory):
            _join(together, directory, prepare(config))
    while together:
        yield together.pop(next(iter(together)))
    for directory, config in alone:
        with failures.of(directory):
            yield [(directory, prepare(config))]


def _join(together: dict[Any, list[Member]], directory: RunDir, context: TrainContext) -> None:
    """Adds a run to those that can share its compiled step, and reuses their images."""
    # A run whose images are on the disk shares nothing, which is not known before it is prepared.
    group = together.setdefault(directory.workdir if context.records else context.program_key(), [])
    if group:
        first = group[0][1]
        context = context._replace(data=first.data, images=first.images, labels=first.labels)
    group.append((directory, context))


def _is_alone(config: Config) -> bool:
    """Whether the labels or the images of a run change while it trains, so that it shares none."""
    data = config.data
    return data.source == "stream" or bool(data.unlabeled) or not data.use_labels


def side_by_side(group: Sequence[Member]) -> list[Member]:
    """Puts several runs on one device with one copy of the images. A new run is unchanged."""
    # One of several that is resumed alone stays on its one device.
    if len(group) == 1 and (hosts.count() > 1 or group[0][0].num_devices() != 1):
        return list(group)
    if len(group) > 1:
        print(f"training {len(group)} runs in one program", flush=True)
    images = first_shard(group[0][1].images)
    return [
        (
            directory,
            context._replace(
                devices=SINGLE_DEVICE, images=images, labels=first_shard(context.labels)
            ),
        )
        for directory, context in group
    ]
