"""Ctrl-C and SIGTERM as a wish: what is being done is finished and saved first."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from crnn_jax.errors import CrnnError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(CrnnError):
    """A run that was asked to stop; the message says how to go on."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number  # of the signal


class Interruption:
    """A context manager in which the signals are noted. A second Ctrl-C ends at once.

    Elsewhere than in the main thread, where Python hears no signals, it notes none.
    """

    number: int | None = None  # of the signal that came

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop(self, where: str) -> Interrupted:
        """The error to be raised when all is saved."""
        assert self.number
        name = signal.Signals(self.number).name
        return Interrupted(
            f"stopped by {name} after {where}; the same command goes on from there", self.number
        )

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


def follow_input() -> None:
    """Takes the end of the standard input for a SIGTERM: it ends with the process that holds it.

    So the cells of a grid that was killed save what they are at, as they do when it is stopped.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def end_as_usual(error: Interrupted) -> None:
    """Ends this process by the signal, so that its parent sees the usual status."""
    signal.signal(error.number, signal.SIG_DFL)
    os.kill(os.getpid(), error.number)
