"""The thread that reads the images of a session, and swaps in adapted readers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from crnn_jax.errors import CrnnError, brief
from crnn_jax.labeling.session import Session

CHUNK = 16  # images that are read at a time; an image that is shown next waits for one chunk
_EXPLAINED = 4  # images explained at a time, always this many, because each batch size is compiled
_PAUSE = 0.5  # seconds without anything to do
_PATIENCE = 2.0  # seconds for a chunk of images to end, before the user is told


class Reader(Protocol):
    """The part of `Recognizer` that is used here; tests replace it."""

    def stream(
        self, images: Any, decoder: Any = None, explain: bool = False, *, frame: str | None = None
    ) -> Any:
        """See `Recognizer.stream`."""


class ReaderTrainer(Protocol):
    """Trains readers: see `adapting`."""

    @property
    def frame(self) -> str:
        """What to read from animations."""

    @property
    def is_training(self) -> bool:
        """Whether a training run is in progress."""

    def step(self, session: Session) -> tuple[str, Reader] | None:
        """Starts and ends training runs. Returns the name of a new reader and the reader."""


class ReadingThread:
    """Reads images in a separate thread until `stop`.

    Attributes:
      problem: why the thread has ended; empty while it runs.
    """

    def __init__(self, session: Session, reader: Reader, adapter: ReaderTrainer):
        self._session, self._reader, self._adapter = session, reader, adapter
        self._wake, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading")
        self.problem = ""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Wakes the thread after an entry."""
        self._wake.set()

    def stop(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Ends the thread after its current chunk, and waits for it.

        There is no time limit, because a program that is being compiled cannot be stopped, and the
        process is aborted if it ends meanwhile.

        Args:
          waiting: called if that takes more than two seconds.
        """
        self._is_over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                waiting()
                self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                if not self.advance():
                    self._wake.wait(_PAUSE)
                    self._wake.clear()
        except CrnnError as error:
            self.problem = str(error)
        except Exception as error:  # the page shows it; images that were read can still be labeled
            self.problem = f"{type(error).__name__}: {brief(error)}"

    def advance(self) -> bool:
        """Does the most urgent piece of work. Returns False if there is nothing to do."""
        session = self._session
        if new := self._adapter.step(session):
            name, self._reader = new
            session.renew(name)
        is_training = self._adapter.is_training
        if numbers := session.unread(CHUNK, only_needed=True):
            self._read(numbers)
        elif numbers := session.unexplained(_EXPLAINED):
            self._explain(numbers)
        elif not is_training and (numbers := session.unread(CHUNK)):
            self._read(numbers)
        else:
            return False
        return True

    def _paths(self, numbers: list[int]) -> list[Path]:
        return [self._session.folder / self._session.files[number] for number in numbers]

    def _read(self, numbers: list[int]) -> None:
        reader = self._session.pool.reader
        found = self._reader.stream(self._paths(numbers), frame=self._adapter.frame)
        for number, reading in zip(numbers, found, strict=True):
            self._session.put(number, reading, reader)

    def _explain(self, numbers: list[int]) -> None:
        padded = list(itertools.islice(itertools.cycle(numbers), _EXPLAINED))
        found = self._reader.stream(self._paths(padded), None, True, frame=self._adapter.frame)
        for number, explanation in zip(numbers, found, strict=False):
            # An image that cannot be opened any more has no characters.
            text = getattr(explanation, "text", "")
            self._session.put_characters(number, text, getattr(explanation, "characters", []))
