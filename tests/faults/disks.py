"""Disk faults: a part of the long run. Mounts need root, I/O errors need a C compiler.

Each fault hits a run; in half of the cases the run has finished checkpoints. The command must say
in one line what failed and leave the checkpoints intact. Once the fault is gone, the run must end
like an undisturbed run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.commands import ROOT, outcome
from tests.faults.forks import tail
from tests.faults.mounts import check_finished, check_refused, remount, small_disk
from tests.faults.workers import (
    COMBINATIONS,
    Training,
    Worker,
    brief,
    make_data,
    prepare,
    workers,
)

KINDS = {"full": 20, "inodes": 15, "descriptors": 15, "read-only": 10, "I/O error": 40}
BY_COMMAND = 0.1
# Calls of faulty_io.c, and the errors that a file system can return for them.
_CALLS = {
    "write": ("EIO", "ENOSPC"),
    "fsync": ("EIO", "ENOSPC"),
    "open": ("EIO", "EACCES", "EMFILE"),
    "rename": ("EIO", "EACCES", "ENOSPC"),
    "read": ("EIO",),
    "close": ("EIO",),
    "mkdir": ("EACCES", "ENOSPC"),
}


class Fault(NamedTuple):
    """One fault."""

    number: int
    kind: str
    begun: bool  # the run already has finished checkpoints
    by_command: bool


def layer(work: Path) -> Path | None:
    """Compiles faulty_io.c. None without a compiler."""
    compiler, library = shutil.which("cc"), work / "faulty_io.so"
    if compiler is None:
        return None
    source = ROOT / "tests" / "faults" / "faulty_io.c"
    command: list[str | Path] = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return library


class Trial:
    """The run that is exposed to faults, on one worker."""

    def __init__(self, worker: Worker, training: Training, disk: Path | None, begun: Path):
        self.worker, self.training, self.disk, self.begun = worker, training, disk, begun
        self.log = worker.work / f"faulty{worker.core}.log"
        self.calls: dict[str, int] = {}

    def count_calls(self) -> None:
        """Counts the calls of each kind below the run directory in an undisturbed run."""
        for name in _CALLS:
            run = self._run(Fault(0, "count", False, False))
            self.log.unlink(missing_ok=True)
            fault = [name, str(run), 0, errno.EIO, 0, str(self.log)]
            attempt = self.training.start(self.worker, run, fault=fault)
            status = attempt.finish(2 * self.training.duration + 5)
            assert status == 0, f"counting {name}: {brief(tail(attempt.err))}"
            self.calls[name] = max(1, int(tail(self.log).split()[-1]))

    def _run(self, fault: Fault) -> Path:
        folder = self.disk if self.disk else self.worker.work
        run = folder / f"disk-run{self.worker.core}"
        shutil.rmtree(run, ignore_errors=True)
        if fault.begun:
            shutil.copytree(self.begun, run)
        return run

    def meet(self, fault: Fault, moments: random.Random) -> str:
        """Runs with a fault, and then to the end without it.

        Returns:
          The message of the command; empty if the fault came too late.

        Raises:
          AssertionError: the message is wrong, a checkpoint is lost, or the outcome differs.
        """
        run = self._run(fault)
        before = self._epochs(run) if fault.begun else []
        what, request, place = self._prepare(fault, run, moments)
        expected = 2 * (self.training.duration + 5 * fault.by_command)
        try:
            attempt = self.training.start(self.worker, run, by_command=fault.by_command, **request)
            status = attempt.finish(expected)
        finally:
            if self.disk:
                remount(self.disk, "rw,size=100m,nr_inodes=10000")
        said = brief(tail(attempt.err, 20000))
        name = f"{fault.kind}, {what}, {'begun' if fault.begun else 'new'} run"
        try:
            if status:
                check_refused(attempt, status, place)
                epochs = self._epochs(run)
                assert max(epochs, default=0) >= max(before, default=0), (
                    f"checkpoints {before} before, {epochs} after; it said {said}"
                )
                attempt = self.training.start(self.worker, run)
                status = attempt.finish(2 * self.training.duration)
                assert status == 0, f"then, without the fault: {brief(tail(attempt.err))}"
            else:
                said = ""
            found = outcome(run)
            assert found == self.training.expected, f"other end: {self.training.differ(found)}"
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        return said and f"{name}: {said}"

    def _prepare(
        self, fault: Fault, run: Path, moments: random.Random
    ) -> tuple[str, Mapping[str, Any], str]:
        """Causes a fault. Returns its description, keys of the request, a part of the message."""
        if fault.kind == "descriptors":
            count = moments.randint(8, 40)
            return f"{count} of them", {"descriptors": count}, ""
        if fault.kind == "I/O error":
            name = moments.choice(sorted(_CALLS))
            error, sticky = moments.choice(_CALLS[name]), moments.random() < 0.3
            nth = moments.randint(1, self.calls[name])
            place = run
            if name in ("open", "read") and moments.random() < 0.3:
                place, nth = self.training.work / "data", moments.randint(1, 40)
            self.log.unlink(missing_ok=True)
            number = getattr(errno, error)
            request = {"fault": [name, str(place), nth, number, int(sticky), str(self.log)]}
            which = f"{name} {nth} below {place.name} {error}{' and all after' if sticky else ''}"
            return which, request, str(place)
        assert self.disk
        status = os.statvfs(self.disk)
        if fault.kind == "full":
            kib = round(math.exp(moments.uniform(0, math.log(1200))))
            used = (status.f_blocks - status.f_bfree) * status.f_frsize // 1024
            remount(self.disk, f"size={used + kib}k")
            return f"{kib} KiB left", {}, str(run)
        if fault.kind == "inodes":
            count = moments.randint(0, 60)
            remount(self.disk, f"nr_inodes={status.f_files - status.f_ffree + count}")
            return f"{count} left", {}, str(run)
        remount(self.disk, "ro")
        return "from the start", {}, str(run)

    def _epochs(self, run: Path) -> list[int]:
        """Returns the epochs with readable checkpoints. AssertionError if one is not readable."""
        if not (run / "checkpoints").is_dir():
            return []
        attempt = self.worker.start("check", [str(run)])
        status = attempt.finish(20)
        assert status == 0, f"a checkpoint is lost: {brief(tail(attempt.err))}"
        return json.loads(tail(attempt.out).splitlines()[-1])


def begin(worker: Worker, training: Training, run: Path) -> Path:
    """Returns a run that was killed after its second checkpoint."""
    shutil.rmtree(run, ignore_errors=True)
    attempt = training.start(worker, run)
    end = time.monotonic() + 60
    while not (run / "checkpoints" / "2").is_dir():
        assert attempt.wait(0.005) is None, "it ended before its second checkpoint"
        assert time.monotonic() < end, "no second checkpoint within a minute"
    attempt.send(signal.SIGKILL)
    attempt.finish(1)
    return run


def disks(work: Path, moments: random.Random, scale: float) -> dict[str, Any]:
    """Exposes training, and all commands that write about a finished run, to disk faults.

    Returns:
      Figures: the number of faults by kind, and `failures`, a list of messages.
    """
    seed, library = moments.getrandbits(32), layer(work)
    make_data(work)
    kinds = [kind for kind, count in KINDS.items() for _ in range(math.ceil(scale * count))]
    faults = [
        Fault(number, kind, bool(number % 2), number % round(1 / BY_COMMAND) == 3)
        for number, kind in enumerate(kinds)
    ]
    ledger = work / "disks.jsonl"
    lines = [json.loads(line) for line in tail(ledger, 10**7).splitlines()]
    known = {line["fault"] for line in lines}
    environment = os.environ | ({"LD_PRELOAD": str(library)} if library else {})
    left_out: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(workers(work, environment))
        training = Training(work, COMBINATIONS[0])
        if broken := prepare(training, pair):
            return {"failures": [f"the unharmed run: {broken}"]}
        trials: dict[int, Trial] = {}

        def ready(worker: Worker, _: int) -> None:
            disk = stack.enter_context(small_disk(work / f"disk{worker.core}"))
            run = begin(worker, training, work / f"begun{worker.core}")
            trials[worker.core] = Trial(worker, training, disk, run)
            if library:
                trials[worker.core].count_calls()

        list(pair.map(ready, range(2)))

        def meet(worker: Worker, fault: Fault) -> tuple[Fault, str, str]:
            trial, draws = trials[worker.core], random.Random(f"{seed} {fault.number}")
            try:
                for _ in range(6):  # until one occurs
                    if said := trial.meet(fault, draws):
                        return fault, said, ""
            except AssertionError as error:
                worker.renew()
                return fault, "", str(error)
            return fault, "", ""

        wanted = [fault for fault in faults if fault.number not in known]
        for fault in list(wanted):
            needs_disk = fault.kind in ("full", "inodes", "read-only")
            if (needs_disk and not all(t.disk for t in trials.values())) or (
                fault.kind == "I/O error" and not library
            ):
                left_out[fault.kind] += 1
                wanted.remove(fault)
        for fault, said, failure in pair.map(meet, wanted):
            line = {"fault": fault.number, "kind": fault.kind, "said": said, "failure": failure}
            lines.append(line)
            with ledger.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"disks: {failure or said or f'{fault.kind}: not met'}", file=sys.stderr)
        trial = next(iter(trials.values()))
        verbs, wrong = 0, list[str]()
        if trial.disk:
            verbs, wrong = check_finished(trial.worker, trial.disk, training.whole(trial.worker))
    met = Counter(line["kind"] for line in lines if line["said"] or line["failure"])
    failures = [line["failure"] for line in lines if line["failure"]] + wrong
    return {
        "faults met": met.total(), **met, "commands refused on a full or read-only disk": verbs,
        "left out": dict(left_out), "failures": failures,
    }  # fmt: skip
