"""Trains on a pack of a million images, and measures memory and the time in which a step waits.

    PYTHONPATH=. python benchmarks/larger_than_memory.py /big/disk/pack --out pack.json

Draws the images first, if the pack does not exist. An epoch takes --train-size images from all of
the pack. The memory is the sum of the proportional set sizes (PSS) of the training process and its
workers, sampled ten times a second; pages of the file cache do not count. Then the same number of
images of a pack that fits is trained on in memory, for comparison.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import folder, generated, pack, packed
from crnn_jax.data.synthetic.wide import family
from crnn_jax.runs import provenance

STYLE = "captcha_v2"
VAL_FRACTION = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--train-size", type=int, default=16_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit-gib", type=float, default=0.25)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    record: dict[str, Any] = {**provenance.here(["cpu"])}
    start = time.monotonic()
    if not packed.is_pack(options.pack):
        pack.write_entries(entries(options.count), options.pack, "the generator")
        record["seconds_to_draw_and_pack"] = round(time.monotonic() - start)
    manifest = packed.manifest(options.pack)
    record |= {
        "images": manifest.images,
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "fingerprint": manifest.fingerprint,
    }
    base = [
        "--config=experiments/base.py",
        f"--config.data.dir={options.pack}",
        f"--config.data.train_size={options.train_size}",
        f"--config.data.val_fraction={VAL_FRACTION}",
        f"--config.train.epochs={options.epochs}",
        "--config.train.min_steps=0",
        f"--config.data.workers={options.workers}",
    ]
    record["on_disk"] = train([*base, f"--config.data.memory_limit={options.limit_gib}"])
    print(json.dumps(record["on_disk"]), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "pack"
        num_val = round(manifest.images * VAL_FRACTION)
        count = options.train_size + num_val
        pack.write_entries(entries(count), small, "the generator")
        changed = [
            *base,
            f"--config.data.dir={small}",
            f"--config.data.val_fraction={num_val / count}",
        ]
        record["in_memory"] = train([*changed, "--config.data.train_size=0"])
    print(json.dumps(record["in_memory"]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def entries(count: int) -> Iterator[pack.Entry]:
    """Yields generated images as PNG files."""
    values = config_lib.with_changes(
        config_lib.defaults(), {"data.source": "synthetic", "data.style": STYLE}
    )
    config = config_lib.from_dict(values).data
    look = family.load(STYLE)
    first = 0
    with ThreadPoolExecutor() as pool:
        for pixels, texts in generated.drawn(look, generated.drawer(look, config), range(count)):
            numbers = range(first, first + len(texts))
            yield from pool.map(_entry, pixels, texts, numbers)
            first += len(texts)


def _entry(pixels: np.ndarray, text: str, number: int) -> pack.Entry:
    image = generated.to_image(pixels)
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)
    return pack.Entry(f"{number:08d}.png", text, "", file.getvalue(), folder.pixel_digest(image))


def train(flags: list[str]) -> dict[str, Any]:
    """Runs a training in a separate process. Returns its peak memory, and what it printed."""
    with tempfile.TemporaryDirectory() as scratch:
        process = subprocess.Popen(
            [sys.executable, "run.py", *flags, f"--workdir={scratch}/run"],
            stdout=subprocess.PIPE,
            text=True,
        )
        peak = {"all": 0.0, "training": 0.0}
        with ThreadPoolExecutor(1) as pool:
            output = pool.submit(process.communicate)
            while not output.done():
                each = [(pid, pss(pid)) for pid in tree(process.pid)]
                peak["all"] = max(peak["all"], sum(size for _, size in each))
                peak["training"] = max(peak["training"], dict(each).get(process.pid, 0.0))
                time.sleep(0.1)
        said = output.result()[0]
        assert process.returncode == 0, said
        waits = re.findall(
            r"waited ([\d.]+) of ([\d.]+) s for images, and ([\d.]+) s for the first", said
        )
        return {
            "peak_mib": {name: round(size) for name, size in peak.items()},
            "epoch_seconds": [float(s) for s in re.findall(r"([\d.]+) s/epoch", said)],
            "waited_seconds": [float(waited) for waited, _, _ in waits],
            "waited_for_the_first_seconds": [float(first) for _, _, first in waits],
            "of_seconds": [float(passed) for _, passed, _ in waits],
        }


def tree(pid: int) -> list[int]:
    """Returns a process and all below it."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def pss(pid: int) -> float:
    """Returns the proportional set size of a process in MiB; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
