"""Workers of the long run: two in parallel, each with a server of forks and its own core."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from tests.faults.commands import (
    SMALL,
    SOURCES,
    captchas,
    differences,
    outcome,
    small_style,
    train_flags,
)
from tests.faults.forks import Attempt, Command, Forks, tail

EPOCHS = 4
BATCH = 16  # split over two devices, cpu_devices.FEWEST images each


class Combination(NamedTuple):
    """The configuration of a series: the number of devices and the source of images."""

    devices: int
    source: str

    def __str__(self) -> str:
        return f"{self.devices} device{'s'[: self.devices - 1]}, {self.source}"


COMBINATIONS = [Combination(d, s) for d, s in itertools.product((1, 2), SOURCES)]


class Worker:
    """One of two parallel workers, each with its own server and its own core."""

    def __init__(self, work: Path, core: int, environment: dict[str, str]):
        self.work, self.core, self.environment = work, core, environment
        self.forks = Forks(environment)
        self._count = itertools.count()

    def start(self, program: str, arguments: Sequence[str], **more: Any) -> Attempt:
        """Starts an attempt: a fork, or with `by_command` a real command.

        Other keywords are keys of a request to `forks`.
        """
        by_command = more.pop("by_command", False)
        place = self.work / f"said{self.core}-{next(self._count) % 50}"
        request = {
            "program": program, "arguments": list(arguments), "out": f"{place}.out",
            "err": f"{place}.err", **more,
        }  # fmt: skip
        return Command(request, self.environment) if by_command else self.forks.start(request)

    def renew(self) -> None:
        """Replaces a server that has ended or is out of step."""
        self.forks.close()
        self.forks = Forks(self.environment)


class Pair(NamedTuple):
    """Two workers that share the jobs."""

    free: SimpleQueue[Worker]
    pool: ThreadPoolExecutor

    def map(self, call: Callable[[Worker, Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        """Calls `call(worker, job)` for each job, in order, two at a time."""

        def run(job: Any) -> Any:
            worker = self.free.get()
            try:
                return call(worker, job)
            except BaseException:
                worker.renew()
                raise
            finally:
                self.free.put(worker)

        return self.pool.map(run, jobs)


@contextlib.contextmanager
def workers(work: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Pair]:
    """Returns a worker for each of two cores."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    free: SimpleQueue[Worker] = SimpleQueue()
    for core in cores:
        free.put(Worker(work, core, dict(environment)))
    with ThreadPoolExecutor(len(cores)) as pool:
        yield Pair(free, pool)
    while not free.empty():
        free.get().forks.close()


def make_data(work: Path) -> None:
    """Writes the training data of the combinations, unless it exists."""
    if not (work / "data").exists():
        captchas(work / "data")
    small_style(work / "style.json")


class Training:
    """The command of a combination, and the outcome and duration of its undisturbed run."""

    def __init__(self, work: Path, combination: Combination):
        self.combination, self.work = combination, work
        self.expected: dict[str, Any] = {}
        self.duration = self.beginning = 0.0  # seconds; of all, and until the first line of metrics
        self.lock = threading.Lock()

    def start(self, worker: Worker, run: Path, **more: Any) -> Attempt:
        """Starts the command on a run directory. One device is pinned to the worker's core."""
        devices, source = self.combination
        data = self.work / {"folder": "data", "stream": "style.json"}[source]
        flags = train_flags(data, run, source, EPOCHS, train__batch_size=BATCH, **SMALL)
        core = worker.core if devices == 1 else None
        return worker.start("run", flags, devices=devices, core=core, **more)

    def whole(self, worker: Worker) -> Path:
        """The undisturbed run that `measure` leaves."""
        return self.work / f"whole-{self.combination}-{worker.core}".replace(" ", "")

    def measure(self, worker: Worker) -> None:
        """Trains undisturbed. Records the outcome, or checks that it is the same again."""
        run = self.whole(worker)
        shutil.rmtree(run, ignore_errors=True)
        begun = time.monotonic()
        attempt = self.start(worker, run)
        beginning = 0.0
        while attempt.wait(0.01) is None and time.monotonic() < begun + 60:
            if not beginning and tail(run / "metrics.jsonl", 10):
                beginning = time.monotonic() - begun
        check_end(attempt, attempt.finish(0), None)
        with self.lock:
            self.beginning = max(self.beginning, beginning)
            self.duration = max(self.duration, time.monotonic() - begun)
            found = outcome(run)
            self.expected = self.expected or found
            assert found == self.expected, f"two unharmed runs differ: {self.differ(found)}"

    def differ(self, found: dict[str, Any]) -> str:
        return differences(found, self.expected)

    def remaining(self, run: Path) -> float:
        """Estimates the seconds of an attempt, given how far `run` is trained."""
        done = tail(run / "metrics.jsonl", 10**5).count('"val_loss"')
        share = min(done / EPOCHS, 1)
        return self.beginning + (self.duration - self.beginning) * (1 - share)


def prepare(training: Training, pair: Pair) -> str:
    """Trains undisturbed, once to compile and then on each worker. Returns failures."""
    try:
        list(pair.map(lambda worker, _: training.measure(worker), [0]))
        training.duration = training.beginning = 0.0
        list(pair.map(lambda worker, _: training.measure(worker), range(2)))
    except AssertionError as error:
        return f"the unharmed run: {error}"
    return ""


def check_end(attempt: Attempt, status: int, sent: str | None) -> None:
    """Checks how an attempt ended.

    Raises:
      AssertionError: there is a traceback, an error, or a status that the signal does not explain.
    """
    said = tail(attempt.err, 20000)
    where = f"after {sent or 'no signal'}, status {status}: {brief(said)}"
    assert "Traceback" not in said, f"traceback {where}"
    allowed = {0} | ({-getattr(signal, sent.split()[0])} if sent and "STOP" not in sent else set())
    assert status in allowed, f"wrong status {where}"
    lines = [line for line in said.splitlines() if not line.startswith("note: ")]
    assert len(lines) <= 1, f"more than one line {where}"
    assert all(line.startswith("stopped by ") for line in lines), f"unexpected line {where}"


def brief(said: str) -> str:
    """Summarizes the output of a process in one line: for a traceback, our frames and the error."""
    lines = said.strip().splitlines()
    if "Traceback" in said:
        ours = re.findall(r'File "\S*/(crnn_jax/\S+|run.py)", line (\d+)', said)
        return f"{' '.join(f'{file}:{line}' for file, line in ours[-4:])} {lines[-1]}"
    return " | ".join(lines[-3:])[-600:]
