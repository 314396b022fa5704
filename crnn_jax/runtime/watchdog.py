"""Ends a process whose devices wait for each other, with one line instead of XLA's abort.

If a program of several devices never ends, the process is idle: the host waits in C++, where no
exception reaches it, until XLA aborts the process with a page of log. A slow step or a compilation
uses the processor, so it is not taken for such a wait.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

LIMIT = 30.0  # seconds without a step and without work after which a run counts as stuck
_IDLE = 0.02  # share of one core that an idle process may use
STATUS = 70  # exit status, EX_SOFTWARE of <sysexits.h>


class Watchdog:
    """A context manager that watches the calls in which a program waits for devices.

    Put each such call under `waiting`.

    Args:
      remedy: what the user can do; the end of the printed line.
      others_wait: whether all other processes of the run wait, too. If one is busy, for example
        because it writes a checkpoint, this one is not stuck.
      limit: seconds.
    """

    def __init__(
        self,
        remedy: str,
        others_wait: Callable[[], bool] = lambda: True,
        limit: float = LIMIT,
    ):
        self._remedy, self._others_wait, self._limit = remedy, others_wait, limit
        self._ended = threading.Event()
        self._waits = 0
        self._is_waiting = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context for one call that waits for devices, and for nothing else (disks, pipes)."""
        self._waits += 1
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def is_waiting(self) -> bool:
        """Whether the process is in a call under `waiting`."""
        return self._is_waiting

    def _watch(self) -> None:
        idle, before, used = 0.0, self._waits, time.process_time()
        pause = self._limit / 15
        # Time in which the process is stopped (SIGSTOP) does not count.
        while not self._ended.wait(pause):
            waits, now = self._waits, time.process_time()
            is_idle = self._is_waiting and waits == before and now - used < _IDLE * pause
            idle = idle + pause if is_idle and self._others_wait() else 0.0
            before, used = waits, now
            if idle >= self._limit:
                print(
                    f"error: training is stuck: no step has finished for {idle:.0f} s and the "
                    f"process is idle; {self._remedy}",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(STATUS)
