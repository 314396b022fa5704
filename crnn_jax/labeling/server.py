"""The server of the labeling page, on the loopback interface, and what it does for the page.

Images are decoded here, with the limits of `image_io`, and sent as PNG. For access see
`endpoints`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

from crnn_jax.data import image_io
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.labeling.adapting import Adapter
from crnn_jax.labeling.reading import ReadingThread
from crnn_jax.labeling.session import Session
from crnn_jax.runs.run_dir import png

HOST = "127.0.0.1"
_SIZE = (1024, 512)  # pixels of an image that is shown, at most


class Entry(TypedDict):
    """What the page sends."""

    number: NotRequired[int]  # number of the image; not for undo
    text: NotRequired[str]
    confirmed: NotRequired[bool]


class Desk:
    """Handles the requests of the page, with a session, its reading thread and adaptations."""

    def __init__(self, session: Session, reading: ReadingThread, adapter: Adapter):
        self.session, self.reading, self.adapter = session, reading, adapter

    def state(self) -> dict[str, Any]:
        """Returns everything that the page shows, as plain values."""
        session = self.session
        with session.lock:
            shown = session.current()
            progress = session.progress()
            last = next(iter(session.entries()[-1:]), None)
            state: dict[str, Any] = {
                "folder": session.folder.resolve().name,
                "progress": progress,
                "image": None,
                "next": session.upcoming(),
                "undo": None if last is None else {"file": last.file, "label": last.label},
                "estimate": self._estimate(),
                "adaptation": self.adapter.status._asdict(),
                "problem": self.reading.problem,
            }
            if shown is not None:
                guess = session.guess(shown.number)
                state["image"] = {
                    "number": shown.number,
                    "file": session.files[shown.number],
                    "drawn": shown.drawn,
                    "guess": guess.text,
                    "confidence": guess.confidence,
                    "characters": session.characters(shown.number),
                }
        return state

    def label(self, entry: Entry) -> dict[str, Any]:
        """Saves a label and returns the new state. EntryError: see `Session.label`."""
        self.session.label(
            entry.get("number", -1), entry.get("text", ""), entry.get("confirmed", False)
        )
        return self._changed()

    def skip(self, entry: Entry) -> dict[str, Any]:
        """Skips an image and returns the new state. EntryError: see `Session.label`."""
        self.session.skip(entry.get("number", -1))
        return self._changed()

    def undo(self, _: Entry) -> dict[str, Any]:
        """Undoes the last entry and returns the new state. EntryError: there is none."""
        undone = self.session.undo()
        return {**self._changed(), "undone": {"file": undone.file, "label": undone.label}}

    def image(self, number: int) -> bytes:
        """Returns an image as PNG. DataError: it cannot be opened, or there is no such number."""
        if not 0 <= number < len(self.session.files):
            raise DataError("there is no such image")
        path = self.session.folder / self.session.files[number]
        image = image_io.flatten(image_io.open_image(path, self.adapter.frame))
        image.thumbnail(_SIZE)
        return png(image)

    def _changed(self) -> dict[str, Any]:
        self.reading.wake()
        return self.state()

    def _estimate(self) -> dict[str, Any]:
        """Returns the estimate of the current reader, and that of the reader before."""
        found = [
            {"reader": reader, **of._asdict(), "share": of.share}
            for reader, of in self.session.estimates().items()
        ]
        before = found[-2] if len(found) > 1 else None
        return {**found[-1], "before": before, "mean": self.session.pool.mean_confidence()}


def listen(port: int) -> socket.socket:
    """Returns a socket on the loopback interface. ConfigError: the port cannot be used."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: a port is from 1 to 65535, or 0 for any")
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()  # now, so that the page can be opened as soon as its address is printed
    except OSError as error:
        found.close()
        reason = error.strerror or error
        raise ConfigError(f"--port {port}: {reason}; choose another, or 0 for any") from error
    return found


def engine(app: Any, is_over: Callable[[], bool]) -> Any:
    """Returns the uvicorn server of an application. `run(sockets=[...])` serves until `is_over`."""
    import uvicorn

    class Server(uvicorn.Server):
        def capture_signals(self) -> Any:
            return contextlib.nullcontext()  # the caller handles signals

        async def on_tick(self, counter: int) -> bool:
            self.should_exit = self.should_exit or is_over()
            return await super().on_tick(counter)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return Server(config)


def check_installed() -> None:
    """Raises ConfigError if a package of the extra is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error}; install it: pip install 'crnn-jax[label]'") from error
