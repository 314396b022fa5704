"""The long fault run: signals, disk faults, and mutated files of every kind.

    python -m tests.faults.long [--only kills,disks,...] [--seed 0] [--scale 1.0] [--state DIR]

Each part runs in a process of its own with a watchdog for time and memory. Finished parts are
recorded in the state folder, so that the same command continues after a stop. Disk faults need
root. The last lines of the output, and the JSON file `--record`, are the record for
results/faults/. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import watch
from tests.faults.forks import ENVIRONMENT, ROOT
from tests.helpers import compiling  # noqa: F401  (before jax)

PARTS = {
    "kills": "kills.kills",
    "disks": "disks.disks",
    "images": "inputs.images",
    "styles": "inputs.styles",
    "records": "mutations.records",
    "archives": "archives.archives",
    "weights": "weights.weights",
    "pictures": "many.pictures",
    "runs": "many.runs",
}
NOT_THERE = "not there"
Part = Callable[[Path, random.Random, float], dict[str, Any]]


def environment() -> dict[str, str]:
    """The environment of the processes, which all compile alike, into one cache."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(Path("/tmp/crnn-long-cache")))
    return {
        **os.environ, **ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip


def find(name: str) -> Part | None:
    """Returns the function of a part, None if it does not exist."""
    module, _, function = PARTS[name].partition(".")
    try:
        return getattr(importlib.import_module(f"tests.faults.{module}"), function, None)
    except ModuleNotFoundError as error:
        if error.name == f"tests.faults.{module}":
            return None
        raise


def run_part(name: str, folder: Path, seed: int, scale: float) -> None:
    """Runs a part in this process and writes `figures.json` to its folder."""
    part = find(name)
    if part is None:
        figures: dict[str, Any] = {NOT_THERE: f"tests.faults.{PARTS[name]}"}
    else:
        watch.guard(folder / "slow", folder / "heartbeat")
        try:
            figures = part(folder / "work", random.Random(f"{seed} {name}"), scale)
        except Exception as error:
            traceback.print_exc()
            figures = {"failures": [f"{type(error).__name__}: {error}"]}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2, default=str))


def watched(name: str, folder: Path, options: argparse.Namespace, baseline: int) -> dict[str, Any]:
    """Runs a part in a process with a watchdog. Returns figures, with `failures` and `seconds`."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    for left in ("slow", "heartbeat", "figures.json"):
        (folder / left).unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "tests.faults.long", "--part", name, "--state", str(folder),
        "--seed", str(options.seed), "--scale", str(options.scale),
    ]  # fmt: skip
    begun = time.monotonic()
    with watch.Watch(baseline) as watcher:
        process = subprocess.Popen(command, cwd=ROOT, env=environment())
        watcher.part, watcher.heartbeat = process.pid, folder / "heartbeat"
        status = process.wait()
    written = folder / "figures.json"
    figures = json.loads(written.read_text()) if written.exists() else {}
    failures = [*figures.pop("failures", []), *watcher.failures]
    failures += watch.slow_calls(folder / "slow")
    if not written.exists():
        failures.append(f"the part's process ended with status {status}")
    return {
        **figures, "most memory of a process, MB": watcher.most_memory,
        "seconds": round(time.monotonic() - begun), "failures": failures,
    }  # fmt: skip


def _versions() -> dict[str, str]:
    from importlib import metadata

    names = ("jax", "jaxlib", "flax", "orbax-checkpoint", "numpy", "pillow", "h5py")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def as_text(record: dict[str, Any]) -> str:
    """Formats a record as text, a paragraph per part."""
    lines = [f"# {record['command']}", f"commit {record['commit']}, {record['machine']}"]
    for name, part in record["parts"].items():
        lines.append(f"{name}:")
        for key, value in part.items():
            if key != "failures":
                lines.append(f"  {key}: {value}")
        lines += [f"  FAILED: {failure}" for failure in part["failures"]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="seed of all moments and mutations")
    parser.add_argument("--scale", type=float, default=1.0, help="scale of all counts")
    parser.add_argument("--state", default="/tmp/crnn-long", help="folder for what has been done")
    parser.add_argument("--record", help="JSON file to write; default STATE/.../long.json")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.part:
        run_part(options.part, Path(options.state), options.seed, options.scale)
        return 0
    os.environ.update(environment())
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    state = Path(options.state).resolve() / f"{commit}-{options.seed}-{options.scale:g}"
    record: dict[str, Any] = {
        "command": f"python -m tests.faults.long --seed {options.seed} --scale {options.scale:g}",
        "commit": commit + ("+changes" if dirty else ""),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        "versions": _versions(),
        "baseline MB": watch.baseline(environment()),
        "parts": {},
    }
    for name in names:
        kept = state / f"{name}.json"
        if kept.exists():
            figures = json.loads(kept.read_text())
            print(f"{name}: done before", file=sys.stderr)
        else:
            print(f"{name}: begins", file=sys.stderr)
            figures = watched(name, state / name, options, record["baseline MB"])
            if NOT_THERE not in figures:
                kept.write_text(json.dumps(figures, indent=2))
            if not figures["failures"]:
                shutil.rmtree(state / name / "work", ignore_errors=True)
        record["parts"][name] = figures
    state.mkdir(parents=True, exist_ok=True)
    path = Path(options.record) if options.record else state / "long.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    path.with_suffix(".txt").write_text(as_text(record))
    print(as_text(record))
    print(f"wrote {path}", file=sys.stderr)
    return 1 if any(part["failures"] for part in record["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
