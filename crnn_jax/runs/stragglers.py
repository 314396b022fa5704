"""Silences the threads and coroutines that Orbax leaves behind when it fails.

Orbax raises every error in the calling thread too, where `checkpoint` turns it into one line. The
output of its other threads about the same error would bury that line.
"""

from __future__ import annotations

import gc
import inspect
import logging as std_logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from absl import logging


def silence() -> None:
    """Turns off Orbax's logs and Python's messages about its threads. Can be called repeatedly."""
    # Orbax logs at length on every save, and each error once per thread.
    logging.set_verbosity(logging.FATAL)
    for name in ("absl", "asyncio"):
        std_logging.getLogger(name).setLevel(std_logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _Unraisable):
        sys.unraisablehook = _Unraisable(sys.unraisablehook)
    if not isinstance(threading.excepthook, _OfThread):
        threading.excepthook = _OfThread(threading.excepthook)


def close_forgotten() -> None:
    """Closes coroutines of a failed load that nobody awaits; Python would warn about them."""
    for item in gc.get_objects():
        if _is_orbax(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
            item.close()


class _Hook:
    def __init__(self, hook: Callable[[Any], Any]):
        self._hook = hook

    def __call__(self, said: Any) -> None:
        if not self._is_straggler(said):
            self._hook(said)

    def _is_straggler(self, said: Any) -> bool:
        raise NotImplementedError


class _Unraisable(_Hook):
    """A `sys.unraisablehook`. Threads of a failed load end after their event loop is closed."""

    def _is_straggler(self, said: Any) -> bool:
        of_a_thread = said.object is None and said.exc_type is RuntimeError
        closed = of_a_thread and str(said.exc_value) == "Event loop is closed"
        # An event loop that could not open its pipe or socket lacks attributes when it is deleted.
        is_loop = "EventLoop.__del__" in getattr(said.object, "__qualname__", "")
        return closed or is_loop or _is_orbax(said.object)


class _OfThread(_Hook):
    """A `threading.excepthook`."""

    def _is_straggler(self, said: Any) -> bool:
        trace = said.exc_traceback
        while trace is not None:
            if "/orbax/" in trace.tb_frame.f_code.co_filename:
                return True
            trace = trace.tb_next
        return False


def _is_orbax(item: Any) -> bool:
    return inspect.iscoroutine(item) and "/orbax/" in item.cr_code.co_filename
