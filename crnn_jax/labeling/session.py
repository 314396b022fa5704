"""The state of labeling: which image is next, and what an entry changes.

It is used by the threads of the server and by the thread that reads images, under one lock.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from crnn_jax.data.tree import Tree
from crnn_jax.errors import CrnnError, DataError, one_line, quote
from crnn_jax.labeling import estimate, label_rules
from crnn_jax.labeling.estimate import Estimate
from crnn_jax.labeling.guesses import Character, Guess, Guesses
from crnn_jax.labeling.journal import Entry, Journal
from crnn_jax.labeling.label_rules import EntryError
from crnn_jax.labeling.plan import Plan, Shown
from crnn_jax.labeling.pool import Pool
from crnn_jax.labeling.store import LabelFile, listable, normalized

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _locked(
    method: Callable[Concatenate[Session, _P], _T],
) -> Callable[Concatenate[Session, _P], _T]:
    @functools.wraps(method)
    def call(self: Session, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self.lock:
            return method(self, *args, **kwargs)

    return call


class Session:
    """Labels the images of a folder.

    Attributes:
      files: the names of the N images.
      pool: their readings.
      reader: the name of the current reader.
    """

    def __init__(self, tree: Tree, folder: Path, reader: str, num_steps: int, seed: int = 0):
        """Reads the labels and the history of a folder.

        Args:
          tree: the images.
          folder: where the journal is.
          reader: the name of the reader.
          num_steps: time steps of the reader, into which a label must fit.
          seed: seeds the draws and the order in which images are read.

        Raises:
          DataError: there are no images, or labels.csv cannot be used.
          RunError: a file cannot be read or written.
        """
        self.lock = threading.RLock()
        self.folder = tree.folder
        self.files, self.num_unlisted = listable(tree.images)
        if not self.files:
            raise DataError(f"{one_line(str(tree.folder))} contains no images")
        self._numbers = {file: i for i, file in enumerate(self.files)}
        self._num_steps = num_steps
        self._store = LabelFile(tree)
        self._journal = Journal(folder)
        self.reader = reader
        self.pool = Pool(len(self.files), seed)
        self._plan = Plan(self.pool, seed)
        self._guesses = Guesses(self.pool)
        self._find_done()

    # -------------------------------------------------------------- for the server

    @property
    def num_labels(self) -> int:
        """The number of labels."""
        return len(self._store.labels)

    @_locked
    def labels(self) -> dict[str, str]:
        """Returns a copy of the labels by file."""
        return dict(self._store.labels)

    @_locked
    def current(self) -> Shown | None:
        """Returns the image to label; None if there is none, or none is read yet."""
        self._extend_plan()
        if not self._plan.upcoming or not self._is_readable(self._plan.upcoming[0]):
            return None
        shown = self._plan.upcoming[0]
        self._guesses.keep(shown.number, self.reader)
        return shown

    @_locked
    def guess(self, number: int) -> Guess:
        """Returns the guess of an image that `current` has returned."""
        return self._guesses[number]

    @_locked
    def characters(self, number: int) -> list[Character]:
        """Returns the characters of the guess; empty if they are not known (yet)."""
        return self._guesses.characters(number)

    @_locked
    def upcoming(self) -> list[int]:
        """Returns the numbers of the images after the current one."""
        return [shown.number for shown in self._plan.upcoming[1:]]

    @_locked
    def label(self, number: int, text: str, is_confirmed: bool = False) -> None:
        """Saves the label of the current image. When this returns, it is on the disk.

        Args:
          number: the image's number.
          text: the label; it is composed (NFC), and white space around it is removed.
          is_confirmed: accept a label of an unusual length.

        Raises:
          EntryError: it cannot be a label, or it has to be confirmed, or another image is shown,
            or the image was removed or labeled by another program.
          RunError, DataError: it cannot be saved. Then nothing changes.
        """
        shown = self._check(number)
        label = normalized(text)
        label_rules.check(label, self._store.labels.values(), self._num_steps, is_confirmed)
        self._enter(shown, label)

    @_locked
    def skip(self, number: int) -> None:
        """Skips the current image, which cannot be read. Raises the errors of `label`."""
        self._enter(self._check(number), None)

    @_locked
    def undo(self) -> Entry:
        """Undoes the last entry, and shows its image again.

        Raises:
          EntryError: there is none.
          RunError, DataError: it cannot be saved.
        """
        self._refresh()
        if not self._journal.entries:
            raise EntryError("There is nothing to undo.")
        entry = self._journal.entries[-1]
        if entry.label is None:
            self._journal.undo()
        else:
            self._store.remove(entry.file)
            self._journal.withdraw()
        number = self._numbers[entry.file]
        self._set_done(entry.file, False)
        self._guesses[number] = Guess(entry.guess, self._confidence(number, entry), entry.reader)
        self._plan.put_first(Shown(number, entry.drawn))
        return entry

    @_locked
    def entries(self) -> list[Entry]:
        """Returns the images that were labeled or skipped, in order; `undo` removes the last."""
        return list(self._journal.entries)

    @_locked
    def progress(self) -> dict[str, int]:
        """Returns image counts by state."""
        return {
            "images": len(self.files),
            "labeled": len(self._store.labels),
            "bad": len(self.pool.bad),
            "skipped": sum(entry.label is None for entry in self._journal.entries),
            "rest": len(self.files) - int(self.pool.is_done.sum()),
            "read": self.pool.num_read,
            "first": self._plan.num_first,
            "unlisted": self.num_unlisted,
        }

    @_locked
    def estimates(self) -> dict[str, Estimate]:
        """Returns the estimates of exact match on the rest by reader, the last reader last."""
        return estimate.by_reader(self._journal.entries, self.reader)

    # -------------------------------------------------------------- for the reading thread

    @_locked
    def renew(self, reader: str) -> None:
        """Switches to another reader. Images that were shown keep their guesses.

        The new reader may have been trained on the label of an image that was undone since.
        """
        self.reader = reader
        self.pool.renew()
        self._guesses.renew()

    @_locked
    def unread(self, count: int, only_needed: bool = False) -> list[int]:
        """Returns images to read next, at most `count`: first those that are shown next.

        Args:
          count: the size of a batch.
          only_needed: only if images that are shown next, or the first images, are among them.
        """
        self._extend_plan()
        numbers = [shown.number for shown in self._plan.upcoming]
        first = [n for n in numbers if n not in self._guesses and not self.pool.is_current(n)]
        if only_needed and not first and self._plan.is_begun:
            return []
        return self.pool.unread(count, first)

    @_locked
    def unexplained(self, count: int) -> list[int]:
        """Returns images that are shown next, and whose characters are not known yet."""
        numbers = (shown.number for shown in self._plan.upcoming)
        return self._guesses.unexplained(numbers, self.reader)[:count]

    @_locked
    def put(self, number: int, reading: Any, reader: int) -> None:
        """Stores a Reading, or the DataError of an image that cannot be opened."""
        if isinstance(reading, DataError):
            if not self.pool.is_done[number]:
                self.pool.put_bad(number, str(reading))
                self._plan.drop_done()
            return
        self.pool.put(number, reading.text, reading.confidence, reader)

    @_locked
    def put_characters(self, number: int, text: str, characters: Sequence[Any]) -> None:
        """Stores the characters of a reading of the current reader."""
        self._guesses.put_characters(number, text, characters)

    # -------------------------------------------------------------- inside

    def _extend_plan(self) -> None:
        self._plan.extend(len(self._journal.entries), self._store.labels.values())

    def _is_readable(self, shown: Shown) -> bool:
        return shown.number in self._guesses or self.pool.is_read(shown.number)

    def _check(self, number: int) -> Shown:
        shown = self.current()
        if shown is None or shown.number != number:
            raise EntryError("Another image is shown now; this entry was not saved.")
        self._refresh()
        file = self.files[number]
        if (label := self._store.labels.get(file)) is not None:
            what = f"labels.csv has {quote(label)} for {one_line(file)} now"
        elif self.folder.is_dir() and not (self.folder / file).exists():
            self.pool.put_bad(number, "it was removed")
            what = f"{one_line(file)} was removed"
        else:
            return shown
        self._set_done(file, True)
        self._plan.drop_done()
        raise EntryError(f"{what}, so this entry was not saved.")

    def _refresh(self) -> None:
        """Follows changes of another program to labels.csv."""
        if self._store.refresh():
            self._find_done()
            self._plan.drop_done()

    def _enter(self, shown: Shown, label: str | None) -> None:
        guess = self._guesses[shown.number]
        file = self.files[shown.number]
        # First, so that no label is saved if this fails.
        self._journal.add(Entry(file, label, guess.text, guess.reader, shown.drawn))
        if label is not None:
            try:
                self._store.add(file, label)
            except (CrnnError, OSError):
                self._journal.withdraw()
                raise
        self._set_done(file, True)
        self._plan.drop_done()
        self._guesses.drop(shown.number)

    def _find_done(self) -> None:
        """Finds the images that are labeled, skipped or bad."""
        self.pool.is_done[:] = False
        self.pool.is_done[list(self.pool.bad)] = True
        self._journal.agree(self._store.labels, self._numbers)
        for file in [*self._store.labels, *(entry.file for entry in self._journal.entries)]:
            self._set_done(file, True)

    def _set_done(self, file: str, is_done: bool) -> None:
        if (number := self._numbers.get(file)) is not None:
            self.pool.is_done[number] = is_done

    def _confidence(self, number: int, entry: Entry) -> float:
        is_same = self.pool.is_read(number) and self.pool.texts[number] == entry.guess
        return float(self.pool.confidences[number]) if is_same else 0.0
