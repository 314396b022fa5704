"""Signals at random moments of training: a part of the long run.

Each series is one run directory. Attempts on it get a signal at a random moment, a quarter of them
while a checkpoint is being saved, and the same command must end with the outcome of an undisturbed
run. Series are independent, and a ledger in the work folder records them, so that a stopped long
run can continue.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.commands import outcome
from tests.faults.forks import Attempt, tail
from tests.faults.workers import (
    COMBINATIONS,
    Combination,
    Training,
    Worker,
    check_end,
    make_data,
    prepare,
    workers,
)

KILLS = 1000
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT twice", "SIGHUP", "SIGSTOP and SIGCONT")
AIMED, BY_COMMAND = 0.25, 0.1  # shares: during a save; by a real command instead of a fork
COMMAND_START = 5.0  # additional seconds that a real command takes


class Series(NamedTuple):
    """The signals that one run directory gets, in turn."""

    name: str
    combination: Combination
    signals: tuple[str, ...]
    by_command: bool


def plan(seed: int, scale: float) -> list[Series]:
    """All series: every signal equally often in every combination."""
    result = []
    each = math.ceil(KILLS * scale / len(COMBINATIONS) / len(SIGNALS))
    for combination in COMBINATIONS:
        moments = random.Random(f"{seed} {combination}")
        deck = list(SIGNALS) * each
        moments.shuffle(deck)
        number = 0
        while deck:
            count = moments.randint(4, 8)
            taken, deck = deck[:count], deck[count:]
            by_command = number % round(1 / BY_COMMAND) == 1 or (not deck and number == 0)
            result.append(Series(f"{combination} {number}", combination, (*taken,), by_command))
            number += 1
    return result


def deliver(attempt: Attempt, name: str, moments: random.Random) -> bool:
    """Sends a signal, twice or with SIGCONT where its name says so. False if it came too late."""
    first, *rest = name.split()
    if not attempt.send(getattr(signal, first)):
        return False
    if rest == ["twice"]:
        attempt.wait(moments.uniform(0, 0.2))
        attempt.send(signal.SIGINT)
    if rest:
        time.sleep(moments.uniform(0.05, 0.5))
        attempt.send(signal.SIGCONT)
    return True


def wait_for_save(attempt: Attempt, run: Path, nth: int, most: float) -> bool:
    """Waits until the n-th save of the attempt begins. False if it ends or takes too long."""
    before: set[str] = set()
    end = time.monotonic() + most
    while len(before) < nth:
        for folder in ("checkpoints", "interrupted"):
            before |= {p.name for p in (run / folder).glob("*tmp*")}
        if attempt.wait(0.001) is not None or time.monotonic() > end:
            return False
    return True


def harm(
    worker: Worker, training: Training, series: Series, seed: int
) -> tuple[Counter[str], list[str]]:
    """Runs a series. Returns counts of its signals, and its failures."""
    moments = random.Random(f"{seed} {series.name}")
    run = worker.work / series.name.replace(" ", "").replace(",", "-")
    shutil.rmtree(run, ignore_errors=True)
    left, done, failures = list(series.signals), Counter[str](), []
    extra = COMMAND_START if series.by_command else 0.0
    is_finished = False
    while left or not is_finished:
        attempt = training.start(worker, run, by_command=series.by_command)
        end = time.monotonic() + (training.remaining(run) + extra) * 1.02
        sent = None
        while left:
            rest = end - time.monotonic()
            if moments.random() < AIMED:
                if not wait_for_save(attempt, run, moments.randint(1, 2), rest):
                    break
                time.sleep(moments.uniform(0, 0.03))
            elif attempt.wait(moments.uniform(0, max(rest, 0.1))) is not None:
                break
            if not deliver(attempt, left[0], moments):
                break
            sent = left.pop(0)
            done[sent] += 1
            if "STOP" not in sent:
                break
        is_finished = False
        try:
            status = attempt.finish(2 * (training.duration + extra))
            is_finished = status == 0
            check_end(attempt, status, sent)
        except AssertionError as error:
            failures.append(str(error))
            if sent is None and not is_finished:  # it would fail forever
                break
        if is_finished:
            found = outcome(run)
            if found != training.expected:
                failures.append(f"other end after {dict(done)}: {training.differ(found)}")
            shutil.rmtree(run)
    if run.exists():  # to inspect a run that cannot continue
        run.rename(run.with_name(f"kept-{run.name}"))
    return done, failures


def kills(work: Path, moments: random.Random, scale: float) -> dict[str, Any]:
    """Sends signals at random moments; the same command must reach the same outcome.

    Returns:
      Figures: the number of signals by combination, and `failures`, a list of messages.
    """
    seed, ledger = moments.getrandbits(32), work / "kills.jsonl"
    make_data(work)
    lines = [json.loads(line) for line in tail(ledger, 10**7).splitlines()]
    known = {line["series"] for line in lines}
    every = [series for series in plan(seed, scale) if series.name not in known]
    with workers(work) as pair:
        for combination in COMBINATIONS:
            wanted = [s for s in every if s.combination == combination]
            if not wanted:
                continue
            training = Training(work, combination)
            fault = prepare(training, pair)
            said = f"{training.duration:.1f} s unharmed, metrics after {training.beginning:.1f} s"
            print(f"{combination}: {fault or said}", file=sys.stderr)

            def job(worker: Worker, series: Series, t: Training = training) -> Any:
                return series, harm(worker, t, series, seed)

            jobs: Iterable[Any] = [(wanted[0], (Counter(), [fault]))]
            for series, (done, failures) in jobs if fault else pair.map(job, wanted):
                lines.append(
                    {
                        "series": series.name, "combination": str(combination),
                        "by command": series.by_command, "done": done, "failures": failures,
                    }
                )  # fmt: skip
                if not fault:
                    with ledger.open("a") as file:
                        file.write(json.dumps(lines[-1]) + "\n")
                sent = sum(sum(line["done"].values()) for line in lines)
                print(f"kills: {sent} sent; {series.name} {failures or 'ok'}", file=sys.stderr)
    return figures(lines)


def figures(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts the lines of a ledger by combination and signal, and failures by message."""
    table: dict[str, Any] = {}
    failures: Counter[str] = Counter()
    for line in lines:
        row = table.setdefault(line["combination"], Counter())
        row.update(line["done"])
        row["by real commands"] += sum(line["done"].values()) if line["by command"] else 0
        failures.update(f"{line['combination']}: {failure}" for failure in line["failures"])
    total = sum(sum(row[name] for name in SIGNALS) for row in table.values())
    said = [f"{count} times, {text}" for text, count in failures.most_common()]
    return {"signals": total, "not survived": failures.total(), **table, "failures": said}
