"""The state of labeling: which image is next, and what an entry changes.

Threads of the server and the thread that reads images call it; a lock admits one at a time.
"""

from __future__ import annotations

import functools
import threading
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from crnn_jax.data import label_files
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, one_line
from crnn_jax.labeling import estimate, ordering
from crnn_jax.labeling.estimate import Estimate
from crnn_jax.labeling.journal import Entry, Journal
from crnn_jax.labeling.pool import Pool
from crnn_jax.labeling.store import LabelFile, normalized

AHEAD = 6  # images that are planned, so that the page can load them
BATCH = 25  # images that are ordered at a time
FIRST = 128  # images that are read before the first one is chosen
_FORM_LABELS = 5  # labels that are compared with the next one
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Shown(NamedTuple):
    """An image in the labeling order."""

    number: int
    drawn: bool  # at random


class Guess(NamedTuple):
    """What the reader read in an image that is shown. It stays the same while it is shown."""

    text: str
    confidence: float
    reader: str  # its name


class Character(NamedTuple):
    """A character of a guess, and its probability given the other characters."""

    symbol: str
    probability: float


class EntryError(Exception):
    """An entry that was not accepted. The message is for the person who labels."""

    def __init__(self, message: str, needs_consent: bool = False):
        super().__init__(message)
        self.needs_consent = needs_consent  # the same entry is accepted if it is confirmed


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
          seed: of the draws, and of the order in which images are read.

        Raises:
          DataError: there are no images, or labels.csv cannot be used.
          RunError: a file cannot be read or written.
        """
        self.lock = threading.RLock()
        self.folder = tree.folder
        self.files, self.num_unlisted = _listable(tree.images)
        if not self.files:
            raise DataError(f"{one_line(str(tree.folder))} contains no images")
        self._numbers = {file: i for i, file in enumerate(self.files)}
        self._num_steps, self._seed = num_steps, seed
        self._store = LabelFile(tree)
        self._journal = Journal(folder)
        self.reader = reader
        self.pool = Pool(len(self.files), seed)
        self._upcoming: list[Shown] = []
        self._batch: list[int] = []  # ordered by the confidences of `_batch_key`
        self._batch_key: tuple[int, int] | None = None
        self._guesses: dict[int, Guess] = {}  # of images that are shown
        self._characters: dict[int, tuple[str, list[Character]]] = {}  # with the text
        for file in self._store.labels:
            self._set_done(file, True)
        for entry in self._history():
            self._set_done(entry.file, True)

    # -------------------------------------------------------------- for the server

    @property
    def num_labels(self) -> int:
        return len(self._store.labels)

    @_locked
    def labels(self) -> dict[str, str]:
        """Returns a copy of the labels by file."""
        return dict(self._store.labels)

    @_locked
    def current(self) -> Shown | None:
        """Returns the image to label; None if there is none, or none is read yet."""
        self._plan()
        if not self._upcoming or not self._is_readable(self._upcoming[0]):
            return None
        shown = self._upcoming[0]
        if shown.number not in self._guesses:
            text, confidence = self.pool.texts[shown.number], self.pool.confidences[shown.number]
            name = self.reader if self.pool.is_current(shown.number) else ""
            self._guesses[shown.number] = Guess(text, float(confidence), name)
        return shown

    @_locked
    def guess(self, number: int) -> Guess:
        """Returns the guess of an image that `current` has returned."""
        return self._guesses[number]

    @_locked
    def characters(self, number: int) -> list[Character]:
        """Returns the characters of the guess; empty if they are not known (yet)."""
        text, found = self._characters.get(number, ("", []))
        return found if text == self._guesses[number].text else []

    @_locked
    def upcoming(self) -> list[int]:
        """Returns the numbers of the images after the current one."""
        return [shown.number for shown in self._upcoming[1:]]

    @_locked
    def label(self, number: int, text: str, is_confirmed: bool = False) -> None:
        """Saves the label of the current image. When this returns, it is on the disk.

        Args:
          number: of the image.
          text: the label; it is composed (NFC), and white space around it is removed.
          is_confirmed: accept a label of an unusual length.

        Raises:
          EntryError: it cannot be a label, or it has to be confirmed, or another image is shown.
          RunError, DataError: it cannot be saved.
        """
        shown = self._check(number)
        label = normalized(text)
        if not label:
            raise EntryError("Type the text of the image, or skip it if it cannot be read.")
        if reason := label_files.complaint(label, None, self._num_steps):
            raise EntryError(f"The {reason.removeprefix('its ')}.")
        if not is_confirmed and (question := self._unusual(label)):
            raise EntryError(question, needs_consent=True)
        count = len(self._store.labels)
        self._store.add(self.files[number], label)
        if len(self._store.labels) != count + 1:  # another program changed labels.csv
            for file in self._store.labels:
                self._set_done(file, True)
        self._enter(shown, label)

    @_locked
    def skip(self, number: int) -> None:
        """Leaves out the current image, which cannot be read. Errors as of `label`."""
        self._enter(self._check(number), None)

    @_locked
    def undo(self) -> Entry:
        """Takes back the last entry, and shows its image again.

        Raises:
          EntryError: there is none.
          RunError, DataError: it cannot be saved.
        """
        self._history()
        if not self._journal.entries:
            raise EntryError("There is nothing to undo.")
        entry = self._journal.entries[-1]
        if entry.label is not None:
            self._store.remove(entry.file)
        self._journal.undo()
        number = self._numbers[entry.file]
        self._set_done(entry.file, False)
        self._guesses[number] = Guess(entry.guess, self._confidence(number, entry), entry.reader)
        self._upcoming = [s for s in self._upcoming if s.number != number]
        self._upcoming.insert(0, Shown(number, entry.drawn))
        return entry

    @property
    @_locked
    def last(self) -> Entry | None:
        """The entry that `undo` takes back."""
        entries = self._journal.entries
        return entries[-1] if entries else None

    @_locked
    def progress(self) -> dict[str, int]:
        """Returns numbers of images."""
        return {
            "images": len(self.files),
            "labeled": len(self._store.labels),
            "bad": len(self.pool.bad),
            "skipped": sum(entry.label is None for entry in self._journal.entries),
            "rest": len(self.files) - int(self.pool.is_done.sum()),
            "read": self.pool.num_read,
            "unlisted": self.num_unlisted,
        }

    @_locked
    def estimates(self) -> dict[str, Estimate]:
        """Returns the estimates of exact match on the rest by reader, the last reader last."""
        draws: dict[str, list[bool]] = {}
        for entry in self._journal.entries:
            if entry.drawn and entry.reader and entry.label is not None:
                right = entry.label == normalized(entry.guess)
                draws.setdefault(entry.reader, []).append(right)
        draws[self.reader] = draws.pop(self.reader, [])
        return {reader: estimate.of(rights) for reader, rights in draws.items()}

    # -------------------------------------------------------------- for the reading thread

    @_locked
    def renew(self, reader: str) -> None:
        """Another reader reads from now on. Images that are shown keep their guesses."""
        self.reader = reader
        self.pool.renew()
        shown = {self._upcoming[0].number} if self._upcoming else set()
        self._guesses = {n: guess for n, guess in self._guesses.items() if n in shown}
        self._characters = {n: found for n, found in self._characters.items() if n in shown}

    @_locked
    def unread(self, count: int, only_needed: bool = False) -> list[int]:
        """Returns images to read next, at most `count`: first those that are shown next.

        Args:
          count: the size of a batch.
          only_needed: only if images that are shown next, or the first images, are among them.
        """
        self._plan()
        first = [shown.number for shown in self._upcoming if shown.number not in self._guesses]
        is_needed = any(not self.pool.is_current(number) for number in first)
        is_needed = is_needed or self.pool.num_read < min(FIRST, len(self.pool.rest))
        if only_needed and not is_needed:
            return []
        return self.pool.unread(count, first)

    @_locked
    def unexplained(self, count: int) -> list[int]:
        """Returns images that are shown next, and whose characters are not known yet."""
        found = []
        for number in (shown.number for shown in self._upcoming):
            guess = self._guesses.get(number)
            is_old = guess is not None and guess.reader != self.reader
            text = guess.text if guess else self.pool.texts[number]
            if self.pool.is_current(number) and not is_old and number not in self._characters:
                found += [number] if text else []
        return found[:count]

    @_locked
    def put(self, number: int, reading: Any, reader: int) -> None:
        """Stores a Reading, or the DataError of an image that cannot be opened."""
        if isinstance(reading, DataError):
            if not self.pool.is_done[number]:
                self.pool.put_bad(number, str(reading))
                self._upcoming = [shown for shown in self._upcoming if shown.number != number]
            return
        self.pool.put(number, reading.text, reading.confidence, reader)

    @_locked
    def put_characters(self, number: int, text: str, characters: Sequence[Any]) -> None:
        """Stores the characters of a reading of the current reader."""
        self._characters[number] = (
            text,
            [Character(c.symbol, c.probability) for c in characters],
        )

    # -------------------------------------------------------------- inside

    def _plan(self) -> None:
        """Plans the next images, as far as they are known."""
        while len(self._upcoming) < AHEAD:
            planned = [shown.number for shown in self._upcoming]
            rest = self.pool.rest
            rest = rest[~np.isin(rest, np.array(planned, np.intp))]
            if not len(rest):
                return
            place = len(self._journal.entries) + len(self._upcoming)
            if estimate.is_drawn(place):
                self._upcoming.append(Shown(estimate.draw(rest, place, self._seed), True))
                continue
            if self.pool.num_read < min(FIRST, len(self.pool.rest)) and not self.pool.reader:
                return  # the first images are being read
            number = self._next_of_batch(planned)
            if number is None:
                return
            self._upcoming.append(Shown(number, False))

    def _next_of_batch(self, planned: Sequence[int]) -> int | None:
        """Returns the next image by confidence and diversity; None if none is read."""
        candidates = self.pool.candidates(FIRST, planned)
        # Twice as many images give another order; a few more do not.
        key = self.pool.reader, len(candidates).bit_length()
        taken = set(planned)
        self._batch = [n for n in self._batch if n not in taken and not self.pool.is_done[n]]
        if not self._batch or self._batch_key is None or key > self._batch_key:
            self._batch_key = key
            chosen = ordering.batch(
                self.pool.confidences[candidates],
                [self.pool.texts[n] for n in candidates.tolist()],
                list(self._store.labels.values()),
                BATCH,
            )
            self._batch = candidates[chosen].tolist()
        return self._batch.pop(0) if self._batch else None

    def _is_readable(self, shown: Shown) -> bool:
        return shown.number in self._guesses or self.pool.is_read(shown.number)

    def _check(self, number: int) -> Shown:
        shown = self.current()
        if shown is None or shown.number != number:
            raise EntryError("Another image is shown now; this entry was not saved.")
        return shown

    def _unusual(self, label: str) -> str:
        lengths = [len(text) for text in self._store.labels.values()]
        if len(lengths) < _FORM_LABELS or min(lengths) <= len(label) <= max(lengths):
            return ""
        few, many = min(lengths), max(lengths)
        span = str(few) if few == many else f"{few} to {many}"
        return (
            f"All {len(lengths)} labels so far have {span} characters, and this one has "
            f"{len(label)}. Press Enter again to keep it."
        )

    def _enter(self, shown: Shown, label: str | None) -> None:
        guess = self._guesses[shown.number]
        file = self.files[shown.number]
        self._journal.add(Entry(file, label, guess.text, guess.reader, shown.drawn))
        self._set_done(file, True)
        self._upcoming = [planned for planned in self._upcoming if not self._is_done(planned)]
        self._guesses.pop(shown.number)
        self._characters.pop(shown.number, None)

    def _set_done(self, file: str, is_done: bool) -> None:
        if (number := self._numbers.get(file)) is not None:
            self.pool.is_done[number] = is_done

    def _is_done(self, shown: Shown) -> bool:
        return bool(self.pool.is_done[shown.number])

    def _confidence(self, number: int, entry: Entry) -> float:
        is_same = self.pool.is_read(number) and self.pool.texts[number] == entry.guess
        return float(self.pool.confidences[number]) if is_same else 0.0

    def _history(self) -> list[Entry]:
        """Returns the entries that agree with labels.csv, and forgets the others."""
        labels = self._store.labels
        kept = [
            entry._replace(label=labels.get(entry.file))
            for entry in self._journal.entries
            if entry.file in self._numbers and (entry.label is None) == (entry.file not in labels)
        ]
        self._journal.entries[:] = kept
        return kept


def _listable(images: Sequence[str]) -> tuple[list[str], int]:
    """Returns the images whose names can be written to labels.csv, and the number of the others.

    A name must be UTF-8 without line breaks, and the only one with its composed form (NFC).
    """
    found: dict[str, str] = {}
    for image in images:
        is_text = not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in image)
        if is_text and image == image.strip():
            found.setdefault(unicodedata.normalize("NFC", image), image)
    return list(found.values()), len(images) - len(found)
