"""Speed of the captcha generators, and its share of the training step that they feed.

    taskset -c 0 python benchmarks/synthetic.py [STYLE ...]

For each style, as 200x50 gray images and in its own size: images per second on the available cores,
in batches of the size of the training step and of 64. Reports the median of the rounds, by wall
clock and by CPU time, which other processes do not affect. Then it times the training step of the
base recipe on a batch from memory and on a generated one.
"""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crnn_jax.runtime import allocator

allocator.keep_memory()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from crnn_jax import config as config_lib  # noqa: E402
from crnn_jax.data import resolve  # noqa: E402
from crnn_jax.data.synthetic import presets, render  # noqa: E402
from crnn_jax.training import context, state  # noqa: E402
from crnn_jax.training import step as step_lib  # noqa: E402

BASE = Path(__file__).resolve().parents[1] / "experiments" / "sgd.py"
ROUNDS = 9
SECONDS = 1.0  # per round


def rate(call: Callable[[int], Any], count: int) -> tuple[float, float]:
    """Returns seconds per image, by wall clock and by CPU time: medians of the rounds."""
    jax.block_until_ready(call(0))
    clock, processor = [], []
    for _ in range(ROUNDS):
        wall, used, calls = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - wall < SECONDS:
            calls += 1
            jax.block_until_ready(call(calls))
        clock.append((time.perf_counter() - wall) / calls / count)
        processor.append((time.process_time() - used) / calls / count)
    return float(np.median(clock)), float(np.median(processor))


def generator(name: str, batch: int) -> Callable[[int], Any]:
    look = presets.load(name)
    atlas = jax.device_put(render.atlas_of(look))
    numbers = np.arange(batch, dtype=np.int32)
    return lambda i: render.images(atlas, 0, numbers + i * batch, style=look)


def main(names: list[str]) -> None:
    print("| style | size | batch | images/s | images/s of CPU time |\n" + "|---" * 5 + "|")
    for name in names or list(presets.STYLES):
        look = presets.load(name)
        for batch in (16, 64):
            clock, processor = rate(generator(name, batch), batch)
            size = f"{look.width}x{look.height}{' color' if look.colour else ''}"
            print(
                f"| {name} | {size} | {batch} | {1 / clock:,.0f} | {1 / processor:,.0f} |",
                flush=True,
            )
    values = runpy.run_path(str(BASE))["get_config"]()
    values.data.source, values.data.count = "stream", 200
    config = config_lib.from_config_dict(values)
    prepared = context.prepare(resolve.resolve(config))
    step, constants = step_lib.jitted_steps(prepared), step_lib.constants(prepared)
    current = state.init_state(prepared)
    batch = config.train.batch_size
    mask, numbers = np.ones((1, batch), bool), np.arange(batch, dtype=np.int32)[None]

    def trained(drawn: tuple[Any, Any, Any]) -> Any:
        nonlocal current
        current, loss = step(current, step_lib.Batch(*drawn, mask), constants)
        return loss

    kept = prepared.batch(numbers)
    alone, _ = rate(lambda i: trained(kept), 1)
    fed, _ = rate(lambda i: trained(prepared.batch(numbers + i * batch)), 1)
    drawn, _ = rate(lambda i: prepared.batch(numbers + i * batch)[0], 1)
    print(f"\nA training step of {batch} takes {1000 * alone:.0f} ms on a batch from memory and "
          f"{1000 * fed:.0f} ms on new ones; to generate one takes {1000 * drawn:.1f} ms, "
          f"{drawn / fed:.1%} of the step.")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
