"""The cost of large alphabets: time and memory of training, reading and explaining.

    python benchmarks/alphabets.py --cores 0

The recipe of experiments/sgd.py with 100, 1,000 and 10,000 symbols, each in two separate processes.
The first one trains in batches of 16 and reads 64 images with `predict`; the second one explains
single images, which keeps a probability for every step, character and symbol. Images are noise and
weights are random, because time depends on sizes only. A row has milliseconds per step, per image
read and per image explained (medians), parameters, and the peak memory of both processes.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contest
import figures
import process

BATCH, IMAGES = 16, 64
COLUMNS = ("ms a step", "ms an image", "ms explained", "parameters", "MiB", "MiB explaining")


def main() -> None:
    parser = contest.parser(__doc__, "alphabets.json")
    parser.add_argument("--sizes", type=contest.numbers, default=[100, 1000, 10_000])
    parser.add_argument("--calls", type=int, default=10, help="timed calls")
    parser.add_argument("--work", choices=("train", "explain"), help="internal: what to measure")
    options = parser.parse_args()
    if options.work:
        print(json.dumps(measure(options.work, options.sizes[0], options.calls)), flush=True)
        return
    options.load = os.getloadavg()
    contest.pin(options.cores)
    rows = []
    for size in options.sizes:
        row: dict[str, Any] = {"symbols": size}
        for work, peak in (("train", "MiB"), ("explain", "MiB explaining")):
            command = [sys.executable, __file__, "--work", work]
            command += ["--sizes", str(size), "--calls", str(options.calls)]
            outcome = process.until(
                command, lambda line: process.value(line, "symbols") is not None
            )
            row |= json.loads(outcome.line or "{}") | {peak: round(outcome.peak_mib)}
        rows.append({"symbols": size, **{name: row[name] for name in COLUMNS}})
        print(rows[-1], flush=True)
        figures.write(options.out, vars(options), rows)  # also if a larger size does not end


def measure(work: str, size: int, calls: int) -> dict[str, Any]:
    """Returns a part of a row."""
    from crnn_jax.runtime import allocator, cpu_devices

    # As run.py and predict do, before importing jax.
    allocator.keep_memory(cpu_devices.use(BATCH) if work == "train" else 1)
    import jax
    import material
    import numpy as np
    from PIL import Image

    from crnn_jax.inference import recognizer
    from crnn_jax.training import state
    from crnn_jax.training import step as step_lib
    from crnn_jax.training.context import prepare

    symbols = [chr(0x4E00 + i) for i in range(size)]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lines = ["file,label"]
        for i in range(IMAGES):
            pixels = rng.integers(0, 256, (50, 200)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            lines.append(f"{i}.png,{''.join(rng.choice(symbols, 5))}")
        (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
        config = material.config(
            folder,
            data__alphabet="".join(symbols),
            data__val_fraction=0.0,
            train__batch_size=BATCH,
        )
        context = prepare(config)
    training = state.init_state(context)
    params = jax.tree.map(np.asarray, training.params)  # the step donates the state
    reader = recognizer.Recognizer(config, context.charset, context.model, params, 0, "", 1.0)
    pictures = [image[..., 0].T for image in context.data.images]  # each u8 [H, W]
    row: dict[str, Any] = {
        "symbols": size,
        "parameters": sum(a.size for a in jax.tree.leaves(params)),
    }
    if work == "explain":
        return row | {"ms explained": _median(lambda: reader.explain(pictures[0]), calls)}
    step, constants = step_lib.jitted_steps(context), step_lib.constants(context)
    training = context.devices.replicate(training)
    batch = step_lib.Batch(
        context.images,
        context.labels,
        np.arange(BATCH, dtype=np.int32)[None],
        np.ones((1, BATCH), bool),
    )

    def update() -> None:
        nonlocal training
        training, loss = step(training, batch, constants)
        jax.block_until_ready(loss)

    row["ms a step"] = _median(update, calls)
    return row | {"ms an image": _median(lambda: reader.predict(pictures), calls) / IMAGES}


def _median(call: Callable[[], Any], calls: int) -> float:
    """Returns the milliseconds of a call, after two untimed ones, which compile."""
    seconds = []
    for _ in range(calls + 2):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
