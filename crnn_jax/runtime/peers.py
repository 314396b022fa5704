"""Ends this process if another process of the run is gone or stuck, with one line that names it.

Collectives wait for all processes, some of them forever (jax issue 38503), and their errors do not
say which process is missing. So a thread of each process stores a count twice a second, and reads
the counts of the others. A process whose count no longer changes is gone or stopped. A process that
stops because of an error stores that error first.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from crnn_jax.errors import for_terminal
from crnn_jax.runtime import hosts
from crnn_jax.runtime.signals import Interrupted
from crnn_jax.runtime.watchdog import STATUS

PERIOD = 0.5  # seconds between two counts
SILENCE = 30.0  # seconds without a count after which a process is gone
AFTER_ERROR = 5.0  # the same, when a collective has failed
IDLE = 120.0  # seconds in which a process may do nothing outside of a step
_BUSY = 0.02  # share of a core that a process uses if it does something
_REMEDY = "run the same command again on all hosts to continue from the last checkpoint"
_ALIVE, _ENDED = "crnn/alive", "crnn/ended"


class Peers:
    """A context manager that watches the other processes of the run.

    Args:
      is_waiting: whether this process waits for the devices of the others.
      end: ends this process with a status; replaced in tests.
    """

    def __init__(
        self, is_waiting: Callable[[], bool] = bool, end: Callable[[int], object] = os._exit
    ):
        self.is_waiting = is_waiting
        self._end = end
        self._closed = threading.Event()
        self._others_wait = False
        self._limit = SILENCE
        self._rounds = 0  # exchanges with the store so far
        self._counts: dict[int, str] = {}  # the last ones that were read, by process
        self._ended: dict[str, str] = {}  # what processes said when they ended

    def __enter__(self) -> Peers:
        if hosts.count() > 1:
            # Two threads, because a call of the store waits forever if process 0 is stopped.
            for work in (self._exchange, self._watch):
                threading.Thread(target=work, daemon=True, name="peers").start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._closed.set()
        # All processes are interrupted at the same step.
        if hosts.count() > 1 and error is not None and not isinstance(error, Interrupted):
            tell(error)

    def others_wait(self) -> bool:
        """Whether all other processes wait for devices, as far as this one knows."""
        return self._others_wait or hosts.count() == 1

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """A context for collectives: if one fails, waits until the missing process is known.

        Then the watching thread ends this process. Errors with another cause are raised.
        """
        try:
            yield
        except Exception as error:
            if hosts.count() == 1 or not _is_of_connection(error):
                raise
            self._limit = AFTER_ERROR
            time.sleep(AFTER_ERROR + 10 * PERIOD)
            raise

    def _waits(self) -> bool:
        return self.is_waiting() or hosts.is_waiting()

    def _exchange(self) -> None:
        """Stores the count of this process, and reads those of the others."""
        used = collections.deque([time.process_time()], maxlen=5)
        while not self._closed.wait(PERIOD):
            used.append(time.process_time())
            # A process that compiles is in a call that waits for devices, but it is busy.
            is_busy = used[-1] - used[0] > _BUSY * PERIOD * (len(used) - 1)
            waits = self._waits() and not is_busy
            try:
                hosts.put(f"{_ALIVE}/{hosts.index()}", f"{self._rounds} {int(waits)}")
                self._ended = hosts.entries(_ENDED)
                self._counts = {_process(k): v for k, v in hosts.entries(_ALIVE).items()}
            except Exception:
                # Without process 0 there is no store, and JAX ends this process: supervisor.py.
                continue
            self._rounds += 1

    def _watch(self) -> None:
        others = [i for i in range(hosts.count()) if i != hosts.index()]
        # Process 0 has the store: if it is stopped, no exchange ends.
        before: dict[int, str] = {}
        last = -1
        silent = dict.fromkeys(others, 0.0)
        idle, used = 0.0, time.process_time()
        # Counts periods, not seconds, because the whole run may be stopped for some time.
        while not self._closed.wait(PERIOD):
            now = time.process_time()
            is_idle = not self._waits() and now - used < _BUSY * PERIOD
            idle, used = idle + PERIOD if is_idle else 0.0, now
            counts, rounds = self._counts, self._rounds
            for process in others:
                if process == 0:
                    is_same = rounds == last
                elif rounds == last:
                    continue  # nothing was read
                else:
                    is_same = counts.get(process) == before.get(process)
                silent[process] = silent[process] + PERIOD if is_same else 0.0
            before, last = counts, rounds
            self._others_wait = all(
                counts.get(i, "").endswith(" 1") and silent[i] < 4 * PERIOD for i in others
            )
            for key, line in self._ended.items():
                if _process(key) != hosts.index():
                    self._stop(f"{hosts.name(_process(key))} has ended: {line}", 1)
            # The first one: without process 0, nothing is known of the others.
            gone = next((i for i in others if silent[i] >= self._limit), None)
            if gone is not None:
                self._stop(
                    f"{hosts.name(gone)} has not answered for {silent[gone]:.0f} s: it was "
                    f"killed, is stopped, or its host is down; {_REMEDY}",
                    STATUS,
                )
            if idle >= IDLE:
                line = f"it has done nothing for {idle:.0f} s outside of a training step"
                self._stop(f"{hosts.name(hosts.index())} is stuck: {line}; {_REMEDY}", STATUS, line)

    def _stop(self, line: str, status: int, told: str = "") -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        print(f"error: {for_terminal(line)}", file=sys.stderr, flush=True)
        if told:
            with contextlib.suppress(Exception):
                hosts.put(f"{_ENDED}/{hosts.index()}", told)
        self._end(status)


def tell(error: BaseException) -> None:
    """Tells the other processes why this one ends."""
    lines = str(error).splitlines()
    with contextlib.suppress(Exception):
        hosts.put(f"{_ENDED}/{hosts.index()}", lines[0][:500] if lines else type(error).__name__)


def _process(key: str) -> int:
    return int(key.rpartition("/")[2])


def _is_of_connection(error: Exception) -> bool:
    """Whether an error can come from a process that is gone: gloo, NCCL and the store say so."""
    text = str(error)
    return any(word in text for word in ("Gloo", "NCCL", "UNAVAILABLE", "onnection", "INTERNAL"))
