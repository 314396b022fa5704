"""Compares the speed of the working tree with that of a commit.

    python benchmarks/guard.py COMMIT --cores 0
    python benchmarks/guard.py COMMIT --cores 0,1 --batches 16

Measures training steps and inference without the first call, and the time from the command to the
first step and the first reading, with compiled programs in the cache, in turns. The commit is
checked out in a separate git worktree, and its own benchmarks/contenders/ours.py and
benchmarks/material.py describe the work. 'peak' is the peak of a process' memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import contest
import figures
import process
from contest import Contender

NOW, THEN = "now", "then"
IMAGES = 936  # as many as CAPTCHA Version 2 has
CALLS = {16: 8, 64: 4, 1: 50}  # timed calls per turn; 2 for other batch sizes
# Prints the job of a contender, with the config keys and the files of the tree in which it runs.
JOB = """
import json, pathlib, sys
import material
work, batch, images, scratch = sys.argv[1], int(sys.argv[2]), *map(pathlib.Path, sys.argv[3:])
scratch.mkdir(exist_ok=True)
print(json.dumps(material.job(work, images, scratch, batch)))
"""


def main() -> None:
    parser = contest.parser(__doc__, "guard.json")
    parser.add_argument("commit")
    parser.add_argument("--batches", type=contest.numbers, default=[16, 64, 256])
    parser.add_argument("--readings", type=contest.numbers, default=[1, 64, 256])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    settings = {**vars(options), "load": os.getloadavg()}
    contest.pin(options.cores)
    results = {}
    with tempfile.TemporaryDirectory() as name, checked_out(options.commit) as root:
        scratch, trees = Path(name), {NOW: process.ROOT, THEN: root}
        images = scratch / "images"
        run_in(process.ROOT, "import material, pathlib, sys; "
               f"material.draw(pathlib.Path(sys.argv[1]), {IMAGES})", images)  # fmt: skip
        for work, batches in (("train", options.batches), ("read", options.readings)):
            for batch in batches:
                entries = [
                    (contender(name, tree), job(tree, work, batch, images, scratch / name))
                    for name, tree in trees.items()
                ]
                count = CALLS.get(batch, 2)
                found = contest.hold(entries, options.cores, options.rounds, 1, count)
                series = {name: r.get("milliseconds", []) for name, r in found.items()}
                results[f"{work} {batch}"] = report(f"ms: {work} {batch}", series, found)
        for title, call in (("first step", first_step), ("first reading", first_reading)):
            outcomes = in_turns(call, trees, images, scratch, options.rounds)
            series = {name: [o.seconds for o in some] for name, some in outcomes.items()}
            peaks = {n: {"peak_mib": max(o.peak_mib for o in s)} for n, s in outcomes.items()}
            results[title] = report(f"s to the {title}", series, peaks)
    figures.write(options.out, settings, results)


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Yields a git worktree of a commit, which is removed afterwards."""
    git = ["git", "-C", os.fspath(process.ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "then"
        subprocess.run([*git, "add", "--detach", "--quiet", root, commit], check=True)
        try:
            yield root
        finally:
            subprocess.run([*git, "remove", "--force", root], check=True)


def variables(root: Path) -> dict[str, str]:
    """Makes Python import the package of a tree, not the installed one."""
    return {"PYTHONPATH": os.fspath(root)}


def contender(name: str, root: Path) -> Contender:
    return Contender(
        name, "ours", variables=variables(root), folder=root / "benchmarks" / "contenders"
    )


def run_in(root: Path, code: str, *arguments: Path | str | int) -> str:
    """Runs Python code beside the benchmarks of a tree. Returns its output."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    paths = os.pathsep.join([os.fspath(root), os.fspath(root / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths}
    # In the directory of the tree, because Python looks there before PYTHONPATH.
    done = subprocess.run(
        command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def job(root: Path, work: str, batch: int, images: Path, scratch: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(run_in(root, JOB, work, batch, images, scratch))
    return found


def report(
    title: str, series: Mapping[str, list[float]], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Prints the table of a contest. Returns its record."""
    rows = figures.summary(series, NOW)
    print("\n" + figures.table(title, rows, NOW), flush=True)
    for name, fact in facts.items():
        print(f"{name}: peak {fact.get('peak_mib', float('nan')):.0f} MiB", flush=True)
    return {name: {**facts[name], **rows.get(name, {}), "series": series[name]} for name in series}


def in_turns(
    call: Callable[[Path, Path, Path], process.Outcome],
    trees: Mapping[str, Path],
    images: Path,
    scratch: Path,
    rounds: int,
) -> dict[str, list[process.Outcome]]:
    """Calls for each tree in turn. The first round, which fills the caches, is not counted."""
    outcomes: dict[str, list[process.Outcome]] = {name: [] for name in trees}
    for number in range(rounds + 1):
        for name, root in trees.items():
            outcome = call(root, images, scratch / name)
            if number:
                outcomes[name].append(outcome)
        contest.note(f"round {number} of {rounds}")
    return outcomes


def first_step(root: Path, images: Path, scratch: Path) -> process.Outcome:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        return process.until(
            [*training(images, run), "--config.log.every_steps=1"],
            lambda line: process.value(line, "step") == 1,
            run / "metrics.jsonl",
            environment(root, scratch),
            root=root,
        )


def first_reading(root: Path, images: Path, scratch: Path) -> process.Outcome:
    run, image = scratch / "run", min(images.iterdir())
    if not run.exists():
        command = [*training(images, run), "--config.train.stop_after=1"]
        process.until(command, lambda line: False, None, environment(root, scratch), root=root)
    return process.until(
        [sys.executable, "-m", "crnn_jax", "predict", run, image],
        lambda line: line.startswith(os.fspath(image)),
        None,
        environment(root, scratch),
        root=root,
    )


def training(images: Path, run: Path) -> list[str]:
    command = [sys.executable, "run.py", "--config", "experiments/base.py"]
    return [*command, f"--config.data.dir={images}", "--workdir", os.fspath(run)]


def environment(root: Path, scratch: Path) -> dict[str, str]:
    smallest = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache = os.fspath(scratch / "xla")
    return {**variables(root), **smallest, "JAX_COMPILATION_CACHE_DIR": cache}


if __name__ == "__main__":
    main()
