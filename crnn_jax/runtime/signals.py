"""On Ctrl-C, SIGTERM or SIGHUP: finish the step, save, exit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self

from crnn_jax.errors import CrnnError
from crnn_jax.runtime import hosts

_CALLS = 10  # between two exchanges with the other processes of a run

STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(CrnnError):
    """A run that was asked to stop. The message says how to continue."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number  # signal number


class SignalWatcher:
    """A context manager that records signals. A second Ctrl-C ends the process at once.

    With `second_ends`, so does a second signal of any kind.

    A SIGHUP that was ignored at the start stays ignored, as under nohup. Outside the main thread
    Python handles no signals, so none is recorded.
    """

    number: int | None = None  # signal that was received, perhaps by another process of the run
    _received: int | None = None  # signal that this process received

    def __init__(self, second_ends: bool = False):
        self._second_ends = second_ends

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                is_ignored = signal.getsignal(number) is signal.SIG_IGN
                if not (is_ignored and number == getattr(signal, "SIGHUP", None)):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def was_received(self, call: int) -> bool:
        """Whether a signal was received, after call number `call` of an epoch.

        If the run has several processes, a signal to one of them counts for all. They exchange
        what they know after the first call and every tenth one after it, so that all stop at the
        same step.
        """
        if hosts.count() == 1:
            return self.number is not None
        if call % _CALLS:
            return False
        numbers = [number for number in hosts.gather(self.number) if number]
        if numbers:
            self.number = numbers[0]
        return bool(numbers)

    def stop(self, when: str) -> Interrupted:
        """Returns the error to raise when everything is saved.

        Args:
          when: such as "after step 7" or "before the first label".
        """
        assert self.number
        name = signal.Signals(self.number).name
        return Interrupted(
            f"stopped by {name} {when}; run the same command again to continue",
            self.number,
        )

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._received is not None and (self._second_ends or number == signal.SIGINT):
            # Our programs leave signals to the system: end without a traceback.
            if self._before[number] in (signal.SIG_DFL, signal.SIG_IGN):
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            raise KeyboardInterrupt
        self._received = self._received or number
        self.number = self.number or number


def follow_input() -> None:
    """Treats the end of the standard input as a SIGTERM.

    The standard input of a cell ends when its sweep ends. So the cells of a killed sweep save
    their state and stop, as they do when the sweep is interrupted.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def exit_by_signal(error: Interrupted) -> None:
    """Ends this process by the signal, so that its parent sees the usual status."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    signal.signal(error.number, signal.SIG_DFL)
    os.kill(os.getpid(), error.number)
