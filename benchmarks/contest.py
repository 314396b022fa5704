"""Contenders timed in turns: A B C A B C ..., so that a busy machine is busy for all.

Each contender is a process that lives through the contest (contenders/worker.py) and is frozen
while it is not its turn. A turn is a few untimed calls and some timed ones; the figure of a
contender is the median of its turns. After a turn it gives free memory back, so that all have
room, and the untimed calls fetch it again. Logits and loss of all are compared before the first
turn: who does not compute the same is left out, and said to be.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import environment
import figures

CONTENDERS = Path(__file__).resolve().parent / "contenders"
OF_THE_PACKAGE = ("ours", "flax_plain")  # these run in the environment of the package
CACHE = Path(__file__).resolve().parents[1] / "runs" / "benchmarks" / "xla"  # what jax compiles
ROOM = 4  # GiB that a contender finds free when it starts, or it stays out
PATIENCE = 900  # seconds for a contender to answer

# glibc's allocator: as it is; told to keep freed memory; and in huge pages besides.
_KEPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_MMAP_MAX_": "0"}
ALLOCATOR: dict[str, dict[str, str]] = {
    "": {},
    "kept": _KEPT,
    "huge": {**_KEPT, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str  # as the table has it
    module: str  # of contenders/
    variant: str = ""
    allocator: str = ""  # of ALLOCATOR
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}, {self.allocator}" if self.allocator else self.name


class Failure(Exception):
    """A contender that cannot go on, and why."""


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender, job: Mapping[str, Any], cores: Sequence[int]):
        if (left := _available_gib()) < ROOM:
            raise Failure(f"{left:.1f} GiB of memory are left, of {ROOM} that it may need")
        own = contender.module in OF_THE_PACKAGE
        python = sys.executable if own else environment.python()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self.process = subprocess.Popen(
            [
                python,
                CONTENDERS / f"{contender.module}.py",
                json.dumps({**job, "threads": len(cores), "variant": contender.variant}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={
                "JAX_COMPILATION_CACHE_DIR": os.fspath(CACHE),
                **os.environ,
                "OMP_NUM_THREADS": str(len(cores)),
                **ALLOCATOR[contender.allocator],
                **contender.variables,
            },
        )
        try:
            self.facts = self._answer()
        except Failure:
            self.process.kill()
            raise
        self._freeze(True)

    def turn(self, untimed: int, count: int) -> dict[str, float]:
        """Seconds of `count` calls after `untimed` ones, and the peak of memory so far in MiB."""
        self._freeze(False)
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"untimed": untimed, "count": count}).encode() + b"\n")
        self.process.stdin.flush()
        answer = self._answer()
        self._freeze(True)
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def _freeze(self, yes: bool) -> None:
        self.process.send_signal(signal.SIGSTOP if yes else signal.SIGCONT)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip().splitlines()
        raise Failure(said[-1] if ready and said else f"no answer within {PATIENCE} s")


def hold(
    entries: Iterable[tuple[Contender, Mapping[str, Any]]],
    cores: Sequence[int],
    rounds: int,
    untimed: int,
    count: int,
) -> dict[str, Any]:
    """A contest: for each contender its facts and the milliseconds a call of each turn.

    Those whose jobs are about the same arrays must agree with the first of them.
    """
    workers: dict[str, Worker] = {}
    results: dict[str, Any] = {}
    references: dict[str, Any] = {}  # by the arrays that a job is about
    for contender, job in entries:
        name = str(contender)
        try:
            worker = Worker(contender, job, cores)
        except Failure as failure:
            note(f"{name} does not run: {failure}")
            results[name] = {"failure": str(failure)}
            continue
        facts = {k: v for k, v in worker.facts.items() if k != "logits"}
        results[name] = {**facts, "milliseconds": []}
        reference = references.setdefault(job["arrays"], worker.facts)
        if difference := figures.disagreement(worker.facts, reference):
            worker.end()
            note(f"{name} does not compute the same: {difference}")
            results[name]["failure"] = difference
            continue
        note(f"{name}: ready in {worker.facts['ready']:.1f} s")
        workers[name] = worker
    try:
        for number in range(rounds):
            for name, worker in list(workers.items()):
                try:
                    answer = worker.turn(untimed, count)
                except (Failure, BrokenPipeError) as failure:
                    note(f"{name} gave up: {failure}")
                    results[name]["failure"] = str(failure)
                    workers.pop(name).end()
                    continue
                results[name]["milliseconds"].append(1000 * answer["seconds"] / count)
                results[name]["peak_mib"] = round(answer["peak_mib"])
            note(f"round {number + 1} of {rounds}")
    finally:
        for worker in workers.values():
            worker.end()
    return results


def by_batches(
    work: str,
    contenders: Sequence[Contender],
    first: str,
    options: argparse.Namespace,
    title: str,
    calls: Callable[[int], int],
    untimed: Callable[[int], int],
) -> None:
    """A contest for each of `options.batches`: tables on the way, and the record at the end.

    Args:
      work: 'train' or 'read'.
      contenders: of them those take part whose name has `options.only`, and `first`.
      first: the name that the others are divided by.
      options: what was asked for; see `parser`, and batches, rounds and only.
      title: of a table, with {} for the batch.
      calls: of a batch, how many are timed in a turn.
      untimed: of that number, how many come before.
    """
    settings = {**vars(options), "load": os.getloadavg()}
    pin(options.cores)
    import material  # after pinning: jax counts the cores when it is loaded

    chosen = [c for c in contenders if options.only in str(c) or str(c) == first]
    results = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        material.draw(scratch / "pictures", max(512, *options.batches))
        for batch in options.batches:
            job, count = material.job(work, scratch / "pictures", scratch, batch), calls(batch)
            entries = [(contender, job) for contender in chosen]
            found = hold(entries, options.cores, options.rounds, untimed(count), count)
            series = {name: r.get("milliseconds", []) for name, r in found.items()}
            rows = figures.summary(series, first)
            print("\n" + figures.table(title.format(batch), rows, first), flush=True)
            results[batch] = {name: {**r, **rows.get(name, {})} for name, r in found.items()}
    figures.write(options.out, settings, results)


def parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """The flags that all scripts have."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--cores", type=numbers, default=[0], metavar="0[,1]", help="to be pinned to"
    )
    result.add_argument("--out", type=Path, default=Path("runs/benchmarks") / out, metavar="JSON")
    return result


def options_of_batches(
    description: str | None, out: str, batches: list[int], rounds: int
) -> argparse.Namespace:
    """The flags of a contest by batches, parsed."""
    result = parser(description, out)
    result.add_argument("--batches", type=numbers, default=batches)
    result.add_argument("--rounds", type=int, default=rounds)
    result.add_argument("--only", default="", help="contenders whose name has this, and crnn-jax")
    return result.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def pin(cores: Sequence[int]) -> None:
    """Keeps this process, and those it starts, on some cores; all end when it is told to."""
    os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _available_gib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "MemAvailable" in line) / 2**20


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
