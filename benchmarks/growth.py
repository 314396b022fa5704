"""Growth of time and memory with the size of the data set and the widths of the model.

    python benchmarks/growth.py --cores 0,1

Sizes: whole runs of run.py on folders of generated images, two epochs each, in batches of --batch,
with augmentation and evaluation. Reports seconds to the end of the first epoch, seconds of the
second epoch, and peak memory. The first round fills the compilation cache. Widths: milliseconds and
memory of a step of 16, with all widths of the model multiplied by a factor, compared with plain
Flax and PyTorch.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import contest
import figures
import process
from contest import Contender


def main() -> None:
    parser = contest.parser(__doc__, "growth.json")
    parser.add_argument("--sizes", type=contest.numbers, default=[1000, 4000, 16000])
    parser.add_argument("--widths", default="0.5,1,2,4", help="factors")
    parser.add_argument("--batch", type=int, default=64, help="batch size of the runs on folders")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.load = os.getloadavg()
    contest.pin(options.cores)
    import material  # after pinning, because jax counts the cores when it is imported

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for size in options.sizes:
            material.draw(scratch / str(size), size)
        sizes = by_size(scratch, options)
        widths = by_width(scratch, material, options)
    figures.write(options.out, vars(options), {"sizes": sizes, "widths": widths})


def by_size(scratch: Path, options: Any) -> dict[str, Any]:
    columns: dict[str, dict[str, list[float]]] = {
        name: {str(size): [] for size in options.sizes}
        for name in ("s to the end of epoch 1", "s an epoch", "MiB at the peak")
    }
    # The first round fills it; programs depend on the size of the data set.
    cache = {"JAX_COMPILATION_CACHE_DIR": os.fspath(scratch / "cache")}
    for number in range(options.rounds):
        for size in options.sizes:
            first, second, peak = run(scratch, size, options.batch, cache)
            values = (first, second, peak)
            for series, value in zip(columns.values(), values, strict=True):
                series[str(size)].append(value)
        contest.note(f"round {number + 1} of {options.rounds} (sizes)")
    smallest = str(options.sizes[0])
    summaries = {}
    for name, series in columns.items():
        rows = figures.summary(series, smallest)
        print("\n" + figures.table(f"images: {name}", rows, smallest), flush=True)
        summaries[name] = {size: {**rows[size], "values": series[size]} for size in rows}
    return summaries


def run(scratch: Path, size: int, batch: int, cache: dict[str, str]) -> tuple[float, float, float]:
    """Returns seconds to the end of epoch 1, seconds of epoch 2, and peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        outcome = process.until(
            [
                *(sys.executable, "run.py", "--config", "experiments/base.py"),
                *(f"--config.data.dir={scratch / str(size)}", f"--config.train.batch_size={batch}"),
                *("--config.train.stop_after=2", "--workdir", metrics.parent),
            ],
            lambda line: process.value(line, "epoch") == 2 and bool(process.value(line, "seconds")),
            metrics,
            cache,
        )
        ends = [process.value(line, "seconds") for line in metrics.read_text().splitlines()]
    first, second = (seconds for seconds in ends if seconds)
    return outcome.seconds - (second - first), second - first, outcome.peak_mib


def by_width(scratch: Path, material: Any, options: Any) -> dict[str, Any]:
    entries = []
    for text in options.widths.split(","):
        arrays = scratch / f"width-{text}"
        arrays.mkdir()
        job = material.job("train", scratch / str(options.sizes[0]), arrays, 16, float(text))
        for contender in (
            Contender(f"crnn-jax, {text}", "ours"),
            Contender(f"plain Flax, {text}", "flax_plain", allocator="kept"),
            Contender(f"PyTorch, {text}", "torch_", allocator="kept"),
        ):
            entries.append((contender, job))
    found: dict[str, Any] = contest.hold(entries, options.cores, options.rounds, 1, 2)
    series = {name: r.get("milliseconds", []) for name, r in found.items()}
    for text in options.widths.split(","):
        ours = f"crnn-jax, {text}"
        names = [str(contender) for contender, _ in entries if contender.name.endswith(f", {text}")]
        rows = figures.summary({name: series[name] for name in names}, ours)
        print("\n" + figures.table(f"ms per step of 16, widths times {text}", rows, ours))
        for name, row in rows.items():
            found[name] |= row
            print(f"{name}: {found[name]['peak_mib']} MiB at the peak", flush=True)
        print(f"{found[ours].get('parameters', 0):,} parameters")
    return found


if __name__ == "__main__":
    main()
