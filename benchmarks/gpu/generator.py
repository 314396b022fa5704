"""Part `generator`: generated images per second, for several batch sizes."""

from __future__ import annotations

import itertools
import time
from typing import Any

import jax
import record
import synthetic
import turns

STYLE = "captcha_v2"
BATCHES = record.pick((16, 256, 4096), (2, 4))


def main() -> None:
    device = jax.devices()[0]
    found = record.Record("generator", [f"{device.platform} {device.device_kind}"])
    for batch in BATCHES:
        found.add("generator", f"batch {batch}", measure(batch))


def measure(batch: int) -> Any:
    draw, numbers = synthetic.generator(STYLE, batch), itertools.count()

    def run() -> Any:
        return draw(next(numbers))

    begun = time.perf_counter()
    jax.block_until_ready(run())
    compiling = time.perf_counter() - begun
    calls = max(1, min(turns.MOST_CALLS, int(record.pick(0.3, 0) / turns.timed(run, 1))))
    series = [1000 * turns.timed(run, calls) / calls for _ in range(record.pick(3, 1))]
    return record.times(series, batch, compiling)


if __name__ == "__main__":
    main()
