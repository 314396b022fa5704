"""The watchdog of the long run: memory and time of every process and of every call.

`Watch` samples the process tree from outside. `guard` runs inside a part: it notices a single call
into crnn_jax that takes longer than the limit, whoever makes it.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

from tests.faults.forks import LIMIT, ROOT, tail

MEMORY = 1024  # MB above the baseline
_PACKAGE = f"{ROOT / 'crnn_jax'}{os.sep}"
_LONG_CALLS = frozenset({"train_and_evaluate"})  # parts train runs and then mutate them
_TICKS = os.sysconf("SC_CLK_TCK")


def baseline(environment: Mapping[str, str]) -> int:
    """Returns the MB of a process that has imported everything and started JAX."""
    code = (
        "import jax, crnn_jax.training.train, crnn_jax.inference.recognizer; jax.devices()\n"
        "print(*[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=True
    )
    return int(done.stdout) // 1024


class Process(NamedTuple):
    parent: int
    state: str
    seconds: float  # of CPU time, with children that have ended
    command: str


def processes() -> dict[int, Process]:
    """Returns all descendants of this process by id."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            stat = Path(entry.path, "stat").read_text()
            fields = stat[stat.rindex(")") + 2 :].split()
            seconds = sum(map(int, fields[11:15])) / _TICKS
            found[int(entry.name)] = Process(int(fields[1]), fields[0], seconds, "")
    wanted: set[int] = set()
    new = {os.getpid()}
    while new:
        new = {pid for pid, process in found.items() if process.parent in new} - wanted
        wanted |= new
    return {pid: found[pid]._replace(command=_command(pid)) for pid in wanted}


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def peak_memory(pid: int) -> int:
    """Returns the peak memory of a process in MB; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
    return 0


class Watch:
    """A context manager that samples the processes below this one.

    A process that uses `MEMORY` MB more than the baseline, or sleeps for `LIMIT` seconds without
    working, is reported in `failures` and gets SIGABRT, so that faulthandler prints its stacks.
    """

    def __init__(self, baseline_mb: int):
        self.limit = baseline_mb + MEMORY
        self.failures: list[str] = []
        self.most_memory = 0
        self.heartbeat: Path | None = None  # touched by the guard of the part
        self.part = 0  # the part's process id
        self._busy: dict[int, tuple[float, float]] = {}  # seconds of CPU time, and when
        self._reported: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.25):
            self.sample()

    def sample(self) -> None:
        """Takes one sample."""
        now, found = time.monotonic(), processes()
        parents = {process.parent for process in found.values()}
        for pid, process in found.items():
            memory = peak_memory(pid)
            self.most_memory = max(self.most_memory, memory)
            if memory > self.limit:
                self._report(pid, process, f"uses {memory} MB, {self.limit} are the limit")
            seconds, since = self._busy.get(pid, (-1.0, now))
            is_waiting = process.state == "S" and pid not in parents and pid != self.part
            if process.seconds != seconds or not is_waiting or "tests.faults" in process.command:
                self._busy[pid] = process.seconds, now
            elif now - since > LIMIT:
                self._report(pid, process, f"does nothing for {LIMIT:.0f} s")
        self._busy = {pid: busy for pid, busy in self._busy.items() if pid in found}
        if self.heartbeat and self.part in found and self.heartbeat.exists():
            silent = time.time() - self.heartbeat.stat().st_mtime
            if silent > LIMIT + 5:  # a call that holds the GIL
                self._report(self.part, found[self.part], f"runs no Python for {silent:.0f} s")

    def _report(self, pid: int, process: Process, what: str) -> None:
        if pid in self._reported:
            return
        self._reported.add(pid)
        self.failures.append(f"process {pid} {what}: {process.command[:300]}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)


def guard(failures: Path, heartbeat: Path, limit: float = LIMIT) -> threading.Event:
    """Starts a thread that appends to `failures` the stack of each call that exceeds the limit.

    A call is the outermost frame of crnn_jax on the stack of any thread. Generators are left out:
    one may stream a hundred thousand images.

    Returns:
      An event that ends the thread. Python 3.11 can crash while it walks frames of other threads.
    """
    ended = threading.Event()

    def run() -> None:
        seen: dict[int, tuple[FrameType, float]] = {}
        reported: FrameType | None = None
        while not ended.wait(0.25):
            heartbeat.touch()
            now, calls = time.monotonic(), {}
            for thread, leaf in sys._current_frames().items():
                if frame := _call(leaf):
                    before, since = seen.get(thread, (None, now))
                    calls[thread] = frame, since if before is frame else now
                    if now - calls[thread][1] > limit and reported is not frame:
                        reported = frame
                        with failures.open("a") as file:
                            stack = "".join(traceback.format_stack(leaf))
                            file.write(f"a call takes more than {limit:.0f} s:\n{stack}\0")
            seen = calls

    threading.Thread(target=run, daemon=True).start()
    return ended


def slow_calls(failures: Path) -> list[str]:
    """Returns the lines that `guard` has written."""
    return [text for text in tail(failures, 10**6).split("\0") if text]


def _call(leaf: FrameType) -> FrameType | None:
    """Returns the outermost frame of crnn_jax below `leaf`, None if there is none to check."""
    frame: FrameType | None = leaf
    outermost = None
    while frame:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            if code.co_name in _LONG_CALLS:
                return None
            if not code.co_flags & inspect.CO_GENERATOR and code.co_name != "<module>":
                outermost = frame
        frame = frame.f_back
    return outermost
