"""Times contenders in turns, A B C A B C ..., so that a busy machine affects all of them equally.

Each contender is a process (contenders/worker.py) that runs for the whole contest and is frozen
while others have their turn. A turn is a few untimed calls and then some timed ones. The result of
a contender is the median of its turns. After a turn it returns free memory to the system, so that
all fit into memory; the untimed calls allocate it again. Before the first turn, logits and losses
of all contenders are compared; one that computes something else is reported and left out.
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
OF_THE_PACKAGE = ("ours", "flax_plain")  # these use the environment of the package
CACHE = Path(__file__).resolve().parents[1] / "runs" / "benchmarks" / "xla"  # compiled programs
ROOM = 4  # GiB that must be free for a contender to start
TIMEOUT = 900  # seconds for a contender to answer

# The allocator of glibc: by default; keeping freed memory; and also with huge pages.
_KEPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_MMAP_MAX_": "0"}
ALLOCATOR: dict[str, dict[str, str]] = {
    "": {},
    "kept": _KEPT,
    "huge": {**_KEPT, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str  # in the table
    module: str  # a file in contenders/
    variant: str = ""
    allocator: str = ""  # of ALLOCATOR
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: Path = CONTENDERS  # with the module

    def __str__(self) -> str:
        return f"{self.name}, {self.allocator}" if self.allocator else self.name


class Failure(Exception):
    """A contender cannot continue; the message says why."""


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender, job: Mapping[str, Any], cores: Sequence[int]):
        if (left := _available_gib()) < ROOM:
            raise Failure(f"only {left:.1f} GiB of memory are free; it may need {ROOM}")
        own = contender.module in OF_THE_PACKAGE
        python = sys.executable if own else environment.python()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self.process = subprocess.Popen(
            [
                python,
                contender.folder / f"{contender.module}.py",
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
        """Returns seconds of `count` calls after `untimed` ones, and peak memory so far in MiB."""
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
        ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
        line = self.process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip().splitlines()
        raise Failure(said[-1] if ready and said else f"no answer within {TIMEOUT} s")


def hold(
    entries: Iterable[tuple[Contender, Mapping[str, Any]]],
    cores: Sequence[int],
    rounds: int,
    untimed: int,
    count: int,
) -> dict[str, Any]:
    """Holds a contest. Returns facts and milliseconds per call and turn for each contender.

    Contenders whose jobs have the same arrays must agree with the first of them.
    """
    workers: dict[str, Worker] = {}
    results: dict[str, Any] = {}
    references: dict[str, Any] = {}  # by the arrays of a job
    for contender, job in entries:
        name = str(contender)
        try:
            worker = Worker(contender, job, cores)
        except Failure as failure:
            note(f"{name} cannot run: {failure}")
            results[name] = {"failure": str(failure)}
            continue
        facts = {k: v for k, v in worker.facts.items() if k != "logits"}
        results[name] = {**facts, "milliseconds": []}
        reference = references.setdefault(job["arrays"], worker.facts)
        if difference := figures.disagreement(worker.facts, reference):
            worker.end()
            note(f"{name} computes something else: {difference}")
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
                    note(f"{name} failed: {failure}")
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
    """Holds a contest for each of `options.batches`; prints tables, and writes a record at the end.

    Args:
      work: 'train' or 'read'.
      contenders: those whose name contains `options.only`, and `first`, take part.
      first: the name that the others are compared with.
      options: see `options_of_batches`.
      title: of a table, with {} for the batch size.
      calls: maps the batch size to the number of timed calls per turn.
      untimed: maps that number to the number of untimed calls before them.
    """
    settings = {**vars(options), "load": os.getloadavg()}
    pin(options.cores)
    import material  # after pinning, because jax counts the cores when it is imported

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
    """Returns a parser with the flags that all scripts have."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--cores", type=numbers, default=[0], metavar="0[,1]", help="cores to pin to"
    )
    result.add_argument("--out", type=Path, default=Path("runs/benchmarks") / out, metavar="JSON")
    return result


def options_of_batches(
    description: str | None, out: str, batches: list[int], rounds: int
) -> argparse.Namespace:
    """Parses the flags of a contest by batch size."""
    result = parser(description, out)
    result.add_argument("--batches", type=numbers, default=batches)
    result.add_argument("--rounds", type=int, default=rounds)
    result.add_argument("--only", default="", help="only contenders whose name contains this")
    return result.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def pin(cores: Sequence[int]) -> None:
    """Pins this process and its children to some cores; SIGTERM ends all of them."""
    os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _available_gib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "MemAvailable" in line) / 2**20


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
