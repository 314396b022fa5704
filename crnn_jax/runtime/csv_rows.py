"""Writes CSV rows that end in a line feed, whatever their fields contain."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from typing import Any, TextIO


def writer(file: TextIO) -> Callable[[Iterable[Any]], None]:
    """Returns a function that writes a row.

    Before Python 3.13, `csv` does not quote a carriage return, for example in a file name, if lines
    end in a line feed. A reader takes it for the end of the row. So all fields of such a row are
    quoted.
    """
    usual = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(row: Iterable[Any]) -> None:
        fields = list(row)
        has_return = any(isinstance(field, str) and "\r" in field for field in fields)
        (quoting if has_return else usual).writerow(fields)

    return write
