"""One run during training: its directory, context and state."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from crnn_jax.config import Config
from crnn_jax.data import batching
from crnn_jax.errors import TrainingError
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import backend
from crnn_jax.runtime.data_parallel import first_shard
from crnn_jax.training.context import TrainContext
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.state import TrainState
from crnn_jax.training.step import Constants


@dataclasses.dataclass
class Run:
    """One run. The loop changes the fields from `state` on."""

    dir: RunDir
    context: TrainContext
    checkpoints: Checkpoints
    constants: Constants
    started_at: float  # time.monotonic() at the start, as if the run had never paused
    state: TrainState  # on `context.devices`
    stopping: Stopping = dataclasses.field(default_factory=Stopping)
    epoch: int = 0  # number of complete epochs
    losses: list[np.ndarray] = dataclasses.field(default_factory=list)  # [S] for each later call
    error: TrainingError | None = None

    @property
    def config(self) -> Config:
        """The config of the run."""
        return self.context.config

    @property
    def steps_since(self) -> int:
        """Steps since the last complete epoch."""
        return sum(map(len, self.losses))

    @property
    def step(self) -> int:
        """Steps since the start of the run."""
        return self.epoch * self.context.steps_per_epoch + self.steps_since

    @property
    def seconds(self) -> float:
        """Seconds of training so far, without pauses between attempts."""
        return time.monotonic() - self.started_at

    @property
    def last_epoch(self) -> int:
        """The epoch after which the run ends, unless it stops early."""
        epochs, stop_after = self.context.num_epochs, self.config.train.stop_after
        return min(epochs, stop_after or epochs)

    @property
    def is_over(self) -> bool:
        """Whether the run has reached its last epoch, stops early, or has failed."""
        over = self.stopping.is_over(self.epoch, self.context.patience)
        return self.error is not None or self.epoch >= self.last_epoch or over

    @property
    def ema(self) -> Any:
        """The EMA of the parameters, on one device, for evaluation."""
        return first_shard(self.state.ema)

    def calls(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields indices [S, B] and mask [S, B] of each remaining call of the epoch."""
        size = self.config.train.batch_size
        order = self.context.order(self.epoch + 1)[self.steps_since * size :]
        return batching.calls(order, size, backend.choices().steps)
