"""The history of labeling: what was shown, guessed and entered, one JSON object per line.

labels.csv has the labels. This file has the order, for undo; the images that were skipped; and the
guesses, for the estimate. Where the two differ, labels.csv takes precedence.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from crnn_jax import schema
from crnn_jax.errors import RunError
from crnn_jax.runtime import files

FILE = "entries.jsonl"
_MOST = 2**29  # bytes


class Entry(NamedTuple):
    """An image that was labeled or skipped."""

    file: str
    label: str | None  # None: it cannot be read, so it was skipped
    guess: str  # guess of the reader
    reader: str  # name of the reader
    drawn: bool  # drawn at random


class _Line(TypedDict):
    file: str
    label: NotRequired[str | None]
    guess: NotRequired[str]
    reader: NotRequired[str]
    drawn: NotRequired[bool]
    undo: NotRequired[bool]


class Journal:
    """The entries of a folder, those that were undone left out."""

    def __init__(self, folder: Path):
        """Reads the entries in `folder`. RunError: the file is damaged."""
        self._path = folder / FILE
        self.entries: list[Entry] = []
        try:
            content = files.read(self._path, _MOST)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{self._path} cannot be read: {error.strerror or error}") from error
        complete, _, torn = content.rpartition(b"\n")
        for number, line in enumerate(complete.split(b"\n") if complete else (), 1):
            try:
                self._apply(schema.check(schema.document(line), _Line))
            except schema.InvalidError as error:
                raise RunError(
                    f"{self._path}: line {number}: {error}; remove the file to go on without the "
                    "history (the labels are in labels.csv)"
                ) from error
        if torn:  # written when the process was killed, and never confirmed
            files.write(self._path, content[: len(content) - len(torn)])

    def add(self, entry: Entry) -> None:
        """Appends an entry. RunError: the file cannot be written."""
        self._append(entry._asdict())
        self.entries.append(entry)

    def undo(self) -> Entry:
        """Undoes the last entry and returns it. RunError: the file cannot be written."""
        last = self.entries[-1]
        self._append({"file": last.file, "undo": True})
        return self.entries.pop()

    def withdraw(self) -> None:
        """Removes the last entry, whose label is not in labels.csv.

        If the file cannot be written, its line stays, and `agree` ignores it at the next start.
        """
        try:
            self.undo()
        except RunError:
            self.entries.pop()

    def agree(self, labels: Mapping[str, str], files: Container[str]) -> None:
        """Keeps the last entry of each image, if it agrees with labels.csv.

        Args:
          labels: the labels in labels.csv by file. An entry takes the label from here.
          files: the images; entries of others are dropped.
        """
        last = {entry.file: place for place, entry in enumerate(self.entries)}
        self.entries = [
            entry._replace(label=labels.get(entry.file))
            for place, entry in enumerate(self.entries)
            if place == last[entry.file]
            and entry.file in files
            and (entry.label is None) == (entry.file not in labels)
        ]

    def _append(self, values: dict[str, object]) -> None:
        files.append(self._path, (json.dumps(values) + "\n").encode())

    def _apply(self, line: _Line) -> None:
        if not line.get("undo"):
            self.entries.append(
                Entry(
                    line["file"],
                    line.get("label"),
                    line.get("guess", ""),
                    line.get("reader", ""),
                    line.get("drawn", False),
                )
            )
            return
        # Not always the last line: entries that labels.csv contradicts are left out of `entries`.
        places = (i for i, entry in enumerate(self.entries) if entry.file == line["file"])
        if (place := max(places, default=None)) is not None:
            del self.entries[place]
