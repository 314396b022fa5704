"""The readings of the images of a folder: texts and confidences, but no pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

_UNREAD = -1


class Pool:
    """The readings of N images, by number. Memory is about 100 bytes for each image."""

    def __init__(self, count: int, seed: int = 0):
        self.confidences = np.zeros(count, np.float32)  # [N]
        self.texts = [""] * count
        self.readers = np.full(count, _UNREAD, np.int32)  # which reader read it, [N]
        self.is_done = np.zeros(count, bool)  # labeled, skipped or bad, [N]
        self.bad: dict[int, str] = {}  # why images cannot be opened
        # In random order, so that the images that are read first are like the others.
        self._order = np.random.default_rng(seed).permutation(count)
        self._place = 0  # position in the order
        self.reader = 0  # the current reader

    def renew(self) -> None:
        """Switches to a new reader, which reads all images again in the same order."""
        self.reader += 1
        self._place = 0

    @property
    def rest(self) -> Int[np.ndarray, " M"]:
        """The numbers of the images that are not done."""
        return np.flatnonzero(~self.is_done)

    @property
    def num_read(self) -> int:
        """How many images that are not done the current reader has read."""
        return int(np.sum(~self.is_done & (self.readers == self.reader)))

    def is_read(self, number: int) -> bool:
        """Whether any reader has read an image."""
        return bool(self.readers[number] != _UNREAD)

    def is_current(self, number: int) -> bool:
        """Whether the current reader has read an image."""
        return bool(self.readers[number] == self.reader)

    def unread(self, count: int, first: Iterable[int] = ()) -> list[int]:
        """Returns at most `count` images without a reading of the current reader, `first` first.

        Calling it again before `put` gives the same images, so that none is left out.
        """
        found = [n for n in dict.fromkeys(first) if not (self.is_done[n] or self.is_current(n))]
        while self._place < len(self._order) and len(found) < count:
            part = self._order[self._place :][: max(count, 1024)]
            is_open = ~self.is_done[part] & (self.readers[part] != self.reader)
            if not is_open.any():
                self._place += len(part)
                continue
            self._place += int(np.argmax(is_open))
            fresh = part[is_open].tolist()
            return [*found, *(n for n in fresh if n not in found)][:count]
        return found[:count]

    def put(self, number: int, text: str, confidence: float, reader: int) -> None:
        """Stores a reading, unless a newer reader has read the image."""
        if reader >= self.readers[number]:
            self.texts[number], self.confidences[number] = text, confidence
            self.readers[number] = reader

    def put_bad(self, number: int, reason: str) -> None:
        """Leaves out an image that cannot be opened."""
        self.bad[number] = reason
        self.is_done[number] = True

    def candidates(self, enough: int, without: Sequence[int] = ()) -> Int[np.ndarray, " M"]:
        """Returns the images that can be ordered by confidence.

        Confidences of different readers cannot be compared. So these are the images that the
        current reader has read, if they are `enough` or all; otherwise all that were read.
        """
        is_open = ~self.is_done
        is_open[list(without)] = False
        current = is_open & (self.readers == self.reader)
        count = int(current.sum())
        if count and (count >= enough or count == int(is_open.sum())):
            return np.flatnonzero(current)
        return np.flatnonzero(is_open & (self.readers != _UNREAD))

    def mean_confidence(self) -> float | None:
        """The mean confidence of the current reader on the images that are not done."""
        found = self.confidences[~self.is_done & (self.readers == self.reader)]
        return float(found.mean()) if len(found) else None
