"""Learning curves of a variant: by epoch, the median over its runs and their range."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crnn_jax.analysis.charts import Point
from crnn_jax.runs.record_types import Line


class Epoch(NamedTuple):
    """The scores of the validation part after an epoch."""

    epoch: int
    val_loss: float  # nats per image
    exact_match: float  # a fraction


def of_lines(lines: Iterable[Line]) -> tuple[Epoch, ...]:
    """Converts the lines of epochs of a `metrics.jsonl`, from `RunDir.epochs`."""
    return tuple(Epoch(e["epoch"], e["val_loss"], e["exact_match"]) for e in lines)


def over_runs(
    runs: Sequence[Sequence[Epoch]], key: str, most: int, factor: float = 1.0
) -> list[Point]:
    """Median and range of a score over the runs that have reached an epoch.

    Args:
      runs: the epochs of each run.
      key: 'val_loss' or 'exact_match'.
      most: the maximum number of points, at least two; the first and the last epoch are kept.
      factor: scores are multiplied by it.
    """
    values: dict[int, list[float]] = {}
    for epochs in runs:
        for epoch in epochs:
            values.setdefault(epoch.epoch, []).append(factor * getattr(epoch, key))
    points = [
        Point(epoch, statistics.median(scores), min(scores), max(scores))
        for epoch, scores in sorted(values.items())
    ]
    return thin(points, most)


def thin(points: list[Point], most: int) -> list[Point]:
    """Keeps at most `most` points, evenly spaced, with the first and the last."""
    if len(points) <= most:
        return points
    return [points[round(n * (len(points) - 1) / (most - 1))] for n in range(most)]
