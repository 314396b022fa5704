"""The running estimate of the reader's exact match on the images without a label.

Images that are labeled because the reader is unsure of them are not representative: the share of
accepted guesses among them is far below that of the rest. So every fourth image is drawn at random
from all images without a label, and the estimate uses these only. A draw is an independent sample:
it is made before the image is labeled, and its guess is of a reader that was not trained on it. The
interval is the 95 % score interval of Wilson (1927).

Limitations: after an adaptation the estimate starts again, because the new reader was trained on
the earlier draws. While images are labeled, those that the reader is unsure of leave the rest
first, so the estimate of a small folder is a little too low. Images that nobody can read are left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from crnn_jax.inference import metrics
from crnn_jax.labeling.journal import Entry
from crnn_jax.labeling.store import normalized

EVERY = 4  # one in this many images is drawn at random; chosen by hand


class Estimate(NamedTuple):
    """Exact match on the rest, as fractions."""

    right: int  # draws whose guess was the label
    drawn: int
    low: float  # 95 % Wilson interval; 0 and 1 without draws
    high: float

    @property
    def share(self) -> float | None:
        """The share of right guesses; None without draws."""
        return self.right / self.drawn if self.drawn else None


def estimate_accuracy(are_right: Sequence[bool]) -> Estimate:
    """Returns the estimate from the draws of one reader: whether each guess was the label."""
    if not are_right:
        return Estimate(0, 0, 0.0, 1.0)
    right = sum(are_right)
    return Estimate(right, len(are_right), *metrics.wilson_interval(right, len(are_right)))


def by_reader(entries: Sequence[Entry], reader: str) -> dict[str, Estimate]:
    """Returns the estimate of each reader that guessed a draw, with that of `reader` at the end."""
    draws: dict[str, list[bool]] = {}
    for entry in entries:
        if entry.drawn and entry.reader and entry.label is not None:
            right = entry.label == normalized(entry.guess)
            draws.setdefault(entry.reader, []).append(right)
    draws[reader] = draws.pop(reader, [])
    return {name: estimate_accuracy(rights) for name, rights in draws.items()}


def is_drawn(place: int) -> bool:
    """Whether the image at a place of the labeling order, from 0, is drawn at random."""
    return place % EVERY == EVERY - 1


def draw(rest: Int[np.ndarray, " N"], place: int, seed: int = 0) -> int:
    """Draws one of the images `rest`, with equal probabilities.

    The same place and images always give the same draw.

    Args:
      rest: the numbers of the images without a label, at least one.
      place: the place in the labeling order.
      seed: the seed of all draws.
    """
    return int(np.random.default_rng([seed, place]).choice(rest))
