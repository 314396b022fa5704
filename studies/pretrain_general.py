"""Trains the general readers within a given time, for example on a GPU that is lent for minutes.

    python studies/pretrain_general.py --faces faces.npz --out OUT --seconds large=300,small=120

For each size, it measures a short epoch after compilation, chooses the number of epochs that fits
into the seconds, trains with run.py, and packs the exported reader, its config and its metrics into
OUT/SIZE.tar.gz. An unfinished run is exported from its last checkpoint. Without a time limit, use
experiments/general.py directly.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SPARE = 15  # seconds per size for startup, scoring and export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, help="the output of `crnn_jax faces`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/crnn-general"))
    parser.add_argument("--seconds", default="large=300,small=120")
    parser.add_argument("--probe", type=int, default=96, help="steps of the epoch that is timed")
    parser.add_argument("--steps", type=int, default=512, help="steps per epoch")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--only-probe", action="store_true")
    options, overrides = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.seconds.split(","):
        size, _, seconds = part.partition("=")
        try:
            train(options, size, float(seconds), overrides)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            print(f"{size}: {error}", flush=True)  # continues with the other size


def train(options: argparse.Namespace, size: str, seconds: float, overrides: list[str]) -> None:
    begun = time.monotonic()
    probe = options.work / f"probe_{size}"
    run(options, size, probe, options.probe, 2, [], overrides)
    lines = metrics(probe)
    if len(lines) < 2:
        raise ValueError(f"the probe ended after {len(lines)} of 2 epochs, see {probe}")
    pace = (lines[-1]["seconds"] - lines[-2]["seconds"]) / options.probe
    rate = options.batch / pace
    print(f"{size}: {1000 * pace:.1f} ms a step, {rate:.0f} images/s, "
          f"{time.monotonic() - begun:.0f} s for the probe", flush=True)  # fmt: skip
    (options.out / f"probe_{size}.json").write_text(
        json.dumps({"batch": options.batch, "seconds_a_step": pace, "images_a_second": rate})
    )
    if options.only_probe:
        return
    compiling = lines[-2]["seconds"] - (lines[-1]["seconds"] - lines[-2]["seconds"])
    left = seconds - (time.monotonic() - begun) - compiling - _SPARE
    epochs = max(2, int(left / (pace * options.steps)))
    print(f"{size}: {epochs} epochs of {options.steps} steps", flush=True)
    workdir = options.work / size
    limit = max(1, int(seconds - (time.monotonic() - begun) + _SPARE))
    bounded = ["timeout", "-s", "TERM", str(limit)]
    try:
        run(options, size, workdir, options.steps, epochs, bounded, overrides)
    finally:
        export(workdir, options.out / f"{size}.tar.gz")


def run(
    options: argparse.Namespace,
    size: str,
    workdir: Path,
    steps: int,
    epochs: int,
    before: list[str],
    overrides: list[str],
) -> None:
    validation = 2048 if steps >= 64 else 64
    count = steps * options.batch + validation
    command = [
        *before, sys.executable, "run.py", f"--config=experiments/general.py:{size}",
        f"--workdir={workdir}", f"--config.data.style={options.faces.resolve()}",
        f"--config.data.count={count}", f"--config.data.val_fraction={(validation + 0.5) / count}",
        f"--config.train.batch_size={options.batch}", f"--config.train.epochs={epochs}", *overrides,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if result.returncode:
        print(f"{size}: status {result.returncode}", flush=True)


def metrics(workdir: Path) -> list[dict[str, float]]:
    """Returns the lines of metrics.jsonl that belong to epochs."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "val_loss" in line]


def export(workdir: Path, target: Path) -> None:
    command = [sys.executable, "-m", "crnn_jax", "export", str(workdir), "--format", "safetensors"]
    print(" ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=False)
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(workdir.rglob("*")):
            if path.is_file() and "checkpoints" not in path.relative_to(workdir).parts:
                archive.add(path, f"{workdir.name}/{path.relative_to(workdir)}")
    print(f"{target}: {target.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
