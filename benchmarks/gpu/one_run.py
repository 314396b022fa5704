"""Part `run`: a run of the base recipe by run.py, on as many generated images as the real set has.

First one epoch with an empty compilation cache, then the whole run with the filled cache. The
difference between the first epochs is the time to compile.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record

CONFIG = record.pick("experiments/base.py", "experiments/tiny.py")
CHANGES = {"data.source": "synthetic", "data.count": record.pick(1040, 40)}


def main() -> None:
    found = record.Record("run", ["as run.py finds it"])
    scratch = os.environ.get("SCRATCH") or tempfile.mkdtemp()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(scratch) / "run-cache")
    cold = run(found, Path(scratch) / "cold", {"train.stop_after": 1})
    found.add("run", "one epoch, nothing compiled before", cold)
    warm = run(found, Path(scratch) / "warm", {})
    found.add("run", "whole run, programs from the cache", warm)
    if cold["first_epoch_s"] and warm["first_epoch_s"]:
        compiling = cold["first_epoch_s"] - warm["first_epoch_s"]
        found.add("run", "compiling_s", compiling)


def run(found: record.Record, workdir: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns the times of a run from its records, as far as it got."""
    flags = [f"--config.{key}={value}" for key, value in {**CHANGES, **changes}.items()]
    command = [sys.executable, "run.py", "--config", CONFIG, "--workdir", str(workdir), *flags]
    begun = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=record.ROOT, timeout=record.seconds_left() - 2)
        status = str(done.returncode)
    except subprocess.TimeoutExpired:
        status = "cut off"
    wall = time.perf_counter() - begun
    lines = workdir / "metrics.jsonl"
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    at = [row["seconds"] for row in rows if "seconds" in row]
    epochs = [after - before for before, after in itertools.pairwise(at)]
    values = {
        "status": status,
        "wall_s": wall,
        "epochs": len(at),
        "first_epoch_s": at[0] if at else None,
        "later_epochs_s": statistics.median(epochs) if epochs else None,
        "seconds": at[-1] if at else None,
    }
    result = workdir / "result.json"
    if result.exists():
        stored = json.loads(result.read_text())
        names = ("exact_match", "num_exact", "num_examples", "seconds", "epochs_run", "num_train")
        values |= {name: stored[name] for name in names}
    return values


if __name__ == "__main__":
    main()
