"""Part `together`: ten folds of two seeds side by side, as in experiments/cross_validation.py.

Measures the time of an epoch of all runs, and the share of training steps, evaluation and
checkpoints in it. The first epoch is reported separately, because it compiles.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import record

from crnn_jax import config as config_lib
from crnn_jax.runtime import allocator
from crnn_jax.training import train
from experiments import base, tiny

FOLDS, SEEDS = record.pick((10, 2), (2, 1))


def configs() -> list[config_lib.Config]:
    values = base.get_blind_config()
    if record.TINY:
        values.update(tiny.get_config())
        values.train.checkpoint_selection, values.train.patience = "last", 0
    values.data.source, values.data.count = "synthetic", record.pick(1040, 40)
    values.data.num_folds = 10
    found = []
    for values.seed, values.data.fold in itertools.product(range(SEEDS), range(FOLDS)):
        found.append(config_lib.from_config_dict(values))
    return found


def main() -> None:
    allocator.keep_memory()
    device = jax.devices()[0]
    found = record.Record("together", [f"{device.platform} {device.device_kind}"])
    found.add("together", "runs", FOLDS * SEEDS)
    clock = Clock(found)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, clock.watching():
        workdirs = [Path(folder) / f"run{i}" for i in range(FOLDS * SEEDS)]
        results = train.train_all(configs(), workdirs)
        found.add("together", "seconds", time.perf_counter() - begun)
    found.add("together", "exact_match", statistics.mean(r.exact_match for r in results))
    found.add("together", "num_exact", sum(r.num_exact for r in results))
    found.add("together", "num_examples", sum(r.num_examples for r in results))


class Clock:
    """Times functions of train.py."""

    def __init__(self, found: record.Record):
        self.found = found
        self.spent: dict[str, float] = {}
        self.epochs: list[dict[str, float]] = []
        self.since = time.perf_counter()

    def watching(self) -> Any:
        names = ("prepare", "run_epoch", "end_epoch", "save", "score")
        watched: dict[str, Any] = {
            name: self._watched(name, getattr(train, name)) for name in names
        }
        return mock.patch.multiple(train, **watched)

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "run_epoch" or (name == "score" and "run_epoch" in self.spent):
                self._begin_epoch()
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took = time.perf_counter() - begun
                self.spent[name] = self.spent.get(name, 0.0) + took

        return call

    def _begin_epoch(self) -> None:
        """Records the previous epoch, or what happened before the first."""
        now = time.perf_counter()
        if "run_epoch" in self.spent:
            saving = self.spent.get("save", 0.0)
            self.epochs.append(
                {
                    "all_s": now - self.since,
                    "steps_s": self.spent["run_epoch"],
                    "evaluation_s": self.spent.get("end_epoch", 0.0) - saving,
                    "checkpoints_s": saving,
                }
            )
            self.found.add("together", "first_epoch", self.epochs[0])
            if later := self.epochs[1:]:
                median = {k: statistics.median(e[k] for e in later) for k in later[0]}
                self.found.add("together", "later_epochs", median)
                self.found.add("together", "epochs", len(self.epochs))
        else:
            before = {"all_s": now - self.since, "data_s": self.spent.get("prepare", 0.0)}
            self.found.add("together", "before_the_first_epoch", before)
        self.spent, self.since = {}, now


if __name__ == "__main__":
    main()
