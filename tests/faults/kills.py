"""SIGKILL at random moments of whatever this package does: a part of the long run."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.commands import ROOT, call, captchas, outcome, train_command, verb

EPOCHS = 20  # so that a run takes several kills
KILLS = {"training": 50, "checkpoint": 20, "grid": 16, "evaluate": 7, "report": 7}


def kill_after(
    command: Sequence[str], wait: Callable[[subprocess.Popen], None], group: bool
) -> int:
    """Starts a command and sends it SIGKILL when `wait` returns: its status."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait(process)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    said = "" if not group and process.poll() is None else process.communicate()[1]
    process.wait()
    assert "Traceback" not in said, said
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode


def kills(work: Path, moments: random.Random, scale: float) -> dict[str, Any]:
    """SIGKILL at random moments of each kind of work; the same command goes on to the same end."""
    data, whole = captchas(work / "data"), work / "whole"
    call(train_command(data, whole, epochs=EPOCHS))  # fills the compilation cache
    shutil.rmtree(whole)
    begun = time.monotonic()
    call(train_command(data, whole, epochs=EPOCHS))
    duration = time.monotonic() - begun
    expected = outcome(whole)
    wanted = {kind: math.ceil(scale * number) for kind, number in KILLS.items()}
    done = dict.fromkeys(KILLS, 0)
    survived = dict.fromkeys(KILLS, 0)

    def sleep(process: subprocess.Popen) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 0.7) * duration)  # past the imports, mostly

    def until_saving(run: Path) -> Callable[[subprocess.Popen], None]:
        def wait(process: subprocess.Popen) -> None:
            before, nth = set(), moments.randint(1, 3)
            while process.poll() is None and len(before) < nth:
                before |= {p.name for p in (run / "checkpoints").glob("*tmp*")}
                time.sleep(0.0005)
            time.sleep(moments.uniform(0, 0.03))

        return wait

    for kind, wait_for in (("training", None), ("checkpoint", until_saving)):
        number = 0
        while done[kind] < wanted[kind]:
            run = work / f"{kind}{number}"
            pending = 0
            while True:
                left = done[kind] < wanted[kind]
                wait = (wait_for(run) if wait_for else sleep) if left else (lambda p: p.wait())
                if kill_after(train_command(data, run, epochs=EPOCHS), wait, group=False) == 0:
                    break
                done[kind] += 1
                pending += 1
            assert outcome(run) == expected, run
            survived[kind] += pending
            number += 1
            shutil.rmtree(run)
            print(f"{kind}: {survived[kind]} of {done[kind]} kills survived", file=sys.stderr)

    outputs = {
        "evaluate": (verb("evaluate", whole, "--data", data, "--format", "json"), []),
        "report": (verb("report", whole), ["report.html", "curves.png", "reliability.png"]),
    }
    for kind, (command, files) in outputs.items():
        begun = time.monotonic()
        said = call(command).stdout
        duration = time.monotonic() - begun
        right = [(whole / name).read_bytes() for name in files]
        while done[kind] < wanted[kind]:
            if kill_after(command, sleep, group=False) == 0:
                continue
            done[kind] += 1
            assert call(command).stdout == said
            assert [(whole / name).read_bytes() for name in files] == right
            survived[kind] += 1
        print(f"{kind}: {survived[kind]} of {done[kind]} kills survived", file=sys.stderr)
    assert outcome(whole) == expected

    kill_grid(work, data, moments, wanted["grid"], done, survived)
    return {f"kills of {kind}": f"{survived[kind]} of {done[kind]}" for kind in KILLS} | {
        "kills survived": f"{sum(survived.values())} of {sum(done.values())}"
    }


def kill_grid(
    work: Path,
    data: Path,
    moments: random.Random,
    wanted: int,
    done: dict[str, int],
    survived: dict[str, int],
) -> None:
    """The parent alone, whose cells go on a while, and the whole group, in turn."""
    experiment = work / "experiment.py"
    experiment.write_text(
        "from experiments import tiny\n\n\ndef get_config():\n    config = tiny.get_config()\n"
        f"    config.data.dir = {str(data)!r}\n    config.train.epochs = 6\n"
        "    config.grid = {'variants': {'base': {}},"
        " 'seeds': (0, 1, 2), 'folds': (0,)}\n    return config\n"
    )

    def command(grid: Path) -> list[str]:
        return [sys.executable, "run.py", "--config", str(experiment), "--workdir", str(grid)]

    def finish(grid: Path) -> dict[str, Any]:
        call(command(grid))
        call(verb("report", grid))
        table = (grid / "report.csv").read_text().splitlines()
        place = table[0].split(",").index("seconds_reached")
        return {
            "table": [[v for i, v in enumerate(r.split(",")) if i != place] for r in table],
            **{str(p.parent.relative_to(grid)): outcome(p.parent)
               for p in sorted(grid.glob("*/*/result.json"))},
        }  # fmt: skip

    begun = time.monotonic()
    expected = finish(work / "grid")
    duration = time.monotonic() - begun
    number = 0
    while done["grid"] < wanted:
        grid = work / f"grid{number}"
        pending = 0
        for _ in range(4):
            if done["grid"] >= wanted:
                break

            def sleep(process: subprocess.Popen) -> None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(moments.uniform(0.1, 0.5) * duration)

            if kill_after(command(grid), sleep, group=bool(done["grid"] % 2)) == 0:
                break
            done["grid"] += 1
            pending += 1
        assert finish(grid) == expected
        assert not list(grid.glob("*/*/failed.txt"))
        survived["grid"] += pending
        print(f"grid: {survived['grid']} of {done['grid']} kills survived", file=sys.stderr)
        number += 1
