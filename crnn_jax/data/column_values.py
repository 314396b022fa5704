"""Statistics of the values of a table column, which tell class numbers from texts."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MOST = 10_000  # different values after which no others are kept
_STARTING = 1000  # values at the start
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")


class Values:
    """The values of a column without the empty ones. The first different ones are kept."""

    __slots__ = ("count", "different", "first", "is_typed_number", "start")

    def __init__(self, is_typed_number: bool = False) -> None:
        """Starts without values.

        Args:
          is_typed_number: whether the file stores them as numbers, as JSON and parquet can.
        """
        self.is_typed_number = is_typed_number
        self.first = ""
        self.count = 0
        self.different: set[str] = set()
        self.start: list[str] = []  # the first values, with repetitions

    def add(self, values: Iterable[str]) -> None:
        """Adds values, in their order in the file."""
        filled = [value for value in map(str.strip, values) if value]
        if filled:
            self.first = self.first or filled[0]
            self.count += len(filled)
            self.start += filled[: _STARTING - len(self.start)]
            if self.is_whole:
                self.different.update(filled)

    @property
    def is_whole(self) -> bool:
        """Whether all different values are known."""
        return len(self.different) < _MOST

    @property
    def has_digits_alone(self) -> bool:
        return all(value.isdecimal() for value in self.different)

    @property
    def is_repeated(self) -> bool:
        """Whether each value occurs four times on average, as the names of classes do."""
        return self.is_whole and 4 * len(self.different) <= self.count

    @property
    def numbers_classes(self) -> bool:
        """Whether these are numbers without leading zeros that count from 0 or 1, or repeat."""
        if not self.count or not all(map(_NUMBER.fullmatch, self.different)):
            return False
        return self.is_repeated or max(map(int, self.different)) < 2 * self.count + 10
