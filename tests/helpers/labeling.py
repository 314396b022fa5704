"""A folder for labeling, and a reader whose readings are given, for tests of crnn_jax.labeling."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.explain import Character, Explanation
from crnn_jax.labeling import server
from crnn_jax.labeling.adapting import Status
from crnn_jax.labeling.reading import ReadingThread
from crnn_jax.labeling.server import Desk
from crnn_jax.labeling.session import Session

Readings = Mapping[str, tuple[str, float]]  # text and confidence by file


class GivenReader:
    """Reads what it is told; images that it is not told about cannot be opened."""

    def __init__(self, readings: Readings):
        self.readings = readings
        self.read: list[str] = []  # the files, in order

    def stream(
        self,
        images: Iterable[Path],
        decoder: Any = None,
        explain: bool = False,
        *,
        frame: str | None = None,
    ) -> Any:
        return self._stream(images, explain)

    def _stream(self, images: Iterable[Path], explain: bool) -> Iterator[Any]:
        for path in images:
            if path.name not in self.readings:
                yield DataError("not a readable image")
                continue
            text, confidence = self.readings[path.name]
            if explain:
                characters = [Character(symbol, confidence, 0.0, 1.0) for symbol in text]
                yield Explanation(text, confidence, characters, [])
            else:
                self.read.append(path.name)
                yield Reading(text, confidence)


class NoAdapter:
    """Never trains, but hands over the readers that it is given."""

    is_training = False
    frame = ""
    newest = None

    def __init__(self) -> None:
        self.status = Status("off")
        self.new: list[tuple[str, GivenReader]] = []

    def step(self, session: Session) -> tuple[str, Any] | None:
        return self.new.pop() if self.new else None


def opened(
    folder: Path, readings: Readings, adapter: NoAdapter | None = None
) -> tuple[Session, ReadingThread]:
    """A session of the images of a folder with its reading, whose thread is not started."""
    session = Session(Tree(folder), folder / ".crnn-jax", "given", 64)
    return session, ReadingThread(session, GivenReader(readings), adapter or NoAdapter())


def finish(reading: ReadingThread) -> None:
    """Does all work of the reading thread."""
    while reading.advance():
        pass


class Served(NamedTuple):
    """A page that is served."""

    url: str
    port: int
    token: str
    desk: Desk


@contextlib.contextmanager
def served(folder: Path, readings: Readings, adapter: NoAdapter | None = None) -> Iterator[Served]:
    """Serves the page in a thread, with a reading thread."""
    adapter = adapter or NoAdapter()
    session, reading = opened(folder, readings, adapter)
    desk = Desk(session, reading, adapter)  # type: ignore[arg-type]
    from crnn_jax.labeling import endpoints  # needs an extra

    listening = server.listen(0)
    port, token = listening.getsockname()[1], "secret"
    engine = server.engine(endpoints.application(desk, token, port), lambda: False)
    thread = threading.Thread(target=engine.run, kwargs={"sockets": [listening]})
    thread.start()
    reading.start()
    try:
        yield Served(f"http://{server.HOST}:{port}/#{token}", port, token, desk)
    finally:
        engine.should_exit = True
        thread.join()
        reading.stop()
        listening.close()
