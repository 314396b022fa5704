"""The images that are shown next: in the order of `ordering`, and every fourth drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax.labeling import estimate, ordering
from crnn_jax.labeling.pool import Pool

AHEAD = 6  # images that are planned, so that the page can load them
BATCH = 25  # images that are ordered at a time; like FIRST, chosen by hand
FIRST = 128  # images that are read before the first one is chosen


class Shown(NamedTuple):
    """An image in the labeling order."""

    number: int
    drawn: bool  # drawn at random


class Plan:
    """The next images of a pool.

    Attributes:
      upcoming: the current image and those after it, as far as they are planned.
    """

    def __init__(self, pool: Pool, seed: int):
        self.upcoming: list[Shown] = []
        self._pool, self._seed = pool, seed
        self._batch: list[int] = []
        # Identifies the readings that ordered the batch; higher for newer or many more readings.
        self._batch_key = (-1, False, 0)

    def extend(self, num_entries: int, labels: Iterable[str]) -> None:
        """Plans further images, if enough images were read.

        Args:
          num_entries: how many images were labeled or skipped.
          labels: the labels that are known.
        """
        pool = self._pool
        while len(self.upcoming) < AHEAD:
            planned = [shown.number for shown in self.upcoming]
            rest = pool.rest
            rest = rest[~np.isin(rest, np.array(planned, np.intp))]
            if not len(rest):
                return
            place = num_entries + len(self.upcoming)
            if estimate.is_drawn(place):
                self.upcoming.append(Shown(estimate.draw(rest, place, self._seed), True))
                continue
            if not pool.reader and not self.is_begun:
                return
            number = self._next_of_batch(planned, labels)
            if number is None:
                return
            self.upcoming.append(Shown(number, False))

    @property
    def num_first(self) -> int:
        """How many images a reader reads before its confidences order the others."""
        return min(FIRST, len(self._pool.rest))

    @property
    def is_begun(self) -> bool:
        """Whether the current reader has read the first images."""
        return self._pool.num_read >= self.num_first

    def put_first(self, shown: Shown) -> None:
        """Shows an image again, before the others."""
        self.upcoming = [shown, *(s for s in self.upcoming if s.number != shown.number)]

    def drop_done(self) -> None:
        """Drops images that are labeled, skipped or bad."""
        self.upcoming = [s for s in self.upcoming if not self._pool.is_done[s.number]]

    def _next_of_batch(self, planned: Sequence[int], labels: Iterable[str]) -> int | None:
        """Returns the next image by confidence and diversity; None if none is read."""
        pool = self._pool
        candidates = pool.candidates(FIRST, planned)
        is_current = bool((pool.readers[candidates] == pool.reader).all())
        # The order is renewed when there are twice as many images, not for each new one.
        key = pool.reader, is_current, len(candidates).bit_length()
        self._batch = [n for n in self._batch if n not in planned and not pool.is_done[n]]
        if not self._batch or key > self._batch_key:
            self._batch_key = key
            chosen = ordering.batch(
                pool.confidences[candidates],
                [pool.texts[n] for n in candidates.tolist()],
                list(labels),
                BATCH,
            )
            self._batch = candidates[chosen].tolist()
        return self._batch.pop(0) if self._batch else None
