"""Step time of one run on 1, 2 and 4 processes of this machine, in turns.

    PYTHONPATH=. python benchmarks/several_hosts.py --rounds 5 --out hosts.json

A core stands for a host: each process has one device and is pinned to one core, and with more
processes than cores, some share a core. The time of a step is that of the last epoch, divided by
its steps. Efficiency is the time on one process, divided by the time on N processes and by the
number of cores that they use. `half` is one process with half the batch; two processes
additionally exchange gradients, 432,596 numbers of four bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from crnn_jax.runs import provenance

ROOT = Path(__file__).resolve().parents[1]
STEPS = 100  # of an epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = {
        **{f"{n} processes, batch {b}": (n, b) for b in options.batches for n in options.processes},
        **{f"half, batch {b}": (1, b // 2) for b in options.batches},
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, (count, batch) in cases.items():
            times[name].append(step_ms(count, batch))
            print(name, f"{times[name][-1]:.1f} ms", flush=True)
        summary = summarize(cases, times)
        if options.out:  # after each round, which takes ten minutes
            record = {**provenance.here(["cpu"]), "ms": times, **summary}
            options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


def summarize(
    cases: Mapping[str, tuple[int, int]], times: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """Returns the median times, and the efficiency of each case of several processes."""
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    cores = os.cpu_count() or 1
    efficiency = {
        name: round(medians[f"1 processes, batch {b}"] / medians[name] / min(n, cores), 3)
        for name, (n, b) in cases.items()
        if n > 1
    }
    return {"median_ms": medians, "efficiency": efficiency}


def step_ms(count: int, batch: int) -> float:
    """Trains the base recipe on `count` processes. Returns milliseconds per step."""
    images = batch * STEPS
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as scratch:
        started = []
        for index in range(count):
            where = [
                f"--coordinator=localhost:{port}",
                f"--processes={count}",
                f"--process={index}",
            ]
            core = str(index % (os.cpu_count() or 1))
            command = [
                "taskset", "-c", core, sys.executable, "run.py",
                "--config=experiments/base.py", *where,
                "--config.data.source=synthetic", f"--config.data.count={images + 8}",
                f"--config.data.val_fraction={8.5 / (images + 8)}", "--config.train.epochs=3",
                "--config.train.min_steps=0", f"--config.train.batch_size={batch}",
                f"--workdir={scratch}/run",
            ]  # fmt: skip
            started.append(
                subprocess.Popen(
                    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"},
                )
            )  # fmt: skip
        said = [process.communicate()[0] for process in started]
        assert not any(process.returncode for process in started), said[0]
        lines = (Path(scratch) / "run" / "metrics.jsonl").read_text().splitlines()
    seconds: list[float] = [v["seconds"] for v in map(json.loads, lines) if "val_loss" in v]
    assert re.search(r"epoch 3/3", said[0])
    return (seconds[2] - seconds[1]) / STEPS * 1000


if __name__ == "__main__":
    main()
