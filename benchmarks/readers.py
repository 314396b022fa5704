"""The time to read an image with several readers, in turns in one process.

    python benchmarks/readers.py FOLDER general RUN --out readers.json

`reader.predict` reads the first 64 images of FOLDER at once. Prints and records the medians of
wall and processor time in milliseconds an image, and their ratios to the last reader.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from crnn_jax import runtime

IMAGES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("readers", nargs="+", help="run directories, or general")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runtime.configure()
    import crnn_jax
    from crnn_jax.data.listing import image_files
    from crnn_jax.runs import provenance

    files = [str(options.folder / name) for name in image_files(options.folder)[:IMAGES]]
    readers = {name: crnn_jax.load(name) for name in options.readers}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for turn in range(options.rounds + 1):
        for name, reader in readers.items():
            wall, cpu = time.perf_counter(), time.process_time()
            reader.predict(files)
            passed = time.perf_counter() - wall, time.process_time() - cpu
            if turn:  # the first one compiles
                times[name].append(passed)
    found = {
        name: [1000 * statistics.median(kind) / len(files) for kind in zip(*series, strict=True)]
        for name, series in times.items()
    }
    last = found[options.readers[-1]]
    rows = {
        name: {
            "ms": round(wall, 3),
            "cpu_ms": round(cpu, 3),
            "ratio": round(wall / last[0], 2),
            "cpu_ratio": round(cpu / last[1], 2),
        }
        for name, (wall, cpu) in found.items()
    }
    record: dict[str, Any] = {
        **provenance.here(["cpu"]),
        "folder": options.folder.name,
        "images": len(files),
        "rounds": options.rounds,
        "readers": rows,
    }
    print(json.dumps(rows, indent=1))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
