"""Effect of the options in runtime/xla_options.py: seconds to compile, milliseconds to run.

    taskset -c 0 python benchmarks/compiling.py
    taskset -c 0 python benchmarks/compiling.py xla_cpu_prefer_vector_width=128

Compiles the training step for a batch of 16, and the reading of 64 images and of one image, with
and without the options. Options of XLA that are given are tried as well, each in addition to those
of the package. The programs take turns in one process, on drawn images, without a compilation
cache.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crnn_jax.runtime import allocator

allocator.keep_memory()

import jax  # noqa: E402
import material  # noqa: E402
import numpy as np  # noqa: E402

from crnn_jax.models import crnn  # noqa: E402
from crnn_jax.runtime import data_parallel, xla_options  # noqa: E402
from crnn_jax.training import context, state  # noqa: E402
from crnn_jax.training import step as step_lib  # noqa: E402

ROUNDS = 10


def compare(
    title: str, program: Any, options: dict[str, Any], call: Callable[[Any], Any], calls: int
) -> None:
    """Prints the medians over the rounds; `call` runs a compiled program once."""
    compiled, seconds = {}, {}
    wanted = {"without": {}, "with": options}
    for tried in sys.argv[1:]:
        option, value = tried.split("=", 1)
        wanted[f"with, {tried}"] = {**options, option: value}
    for name, chosen in wanted.items():
        begun = time.perf_counter()
        try:
            compiled[name] = program.compile(compiler_options=chosen)
        except Exception as error:  # jaxlib's own types; it lacks the option, or refuses it
            print(f"| {title} | {name} | {str(error).splitlines()[0]} | |", flush=True)
        seconds[name] = time.perf_counter() - begun
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(ROUNDS):
        for name, function in compiled.items():
            for i in range(calls + 1):
                begun = time.perf_counter()
                jax.block_until_ready(call(function))
                if i:  # the first call after another program is not counted
                    times[name].append(1000 * (time.perf_counter() - begun))
    for name, series in times.items():
        print(f"| {title} | {name} | {seconds[name]:.1f} | {np.median(series):.4g} |", flush=True)


def main() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    print("| program | options | s to compile | ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        material.draw(Path(folder), 200)
        config = material.config(Path(folder))
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=16))
        job = context.prepare(config)
    fresh = state.init_state(job)
    params = jax.tree.map(np.asarray, fresh.params)  # the step donates the state
    rows = job.batch(np.arange(16, dtype=np.int32)[None])
    batch = step_lib.Batch(*rows, np.ones((1, 16), bool)), step_lib.constants(job)
    current = fresh

    def step(function: Any) -> Any:
        nonlocal current
        current, loss = function(current, *batch)
        return loss

    recipe = step_lib.recipe(job)._replace(devices=data_parallel.SINGLE_DEVICE)
    train_steps = functools.partial(step_lib.train_steps, recipe=recipe)
    program = jax.jit(train_steps, donate_argnums=0).lower(fresh, *batch)
    compare("training step of 16", program, xla_options.options(xla_options.TRAINING), step, 3)
    read = jax.jit(lambda params, images: crnn.apply(job.model, params, images))
    for count in (64, 1):
        images = job.images[:count]
        program = read.lower(params, images)
        options = xla_options.options(xla_options.READING)

        def call(function: Any, images: Any = images) -> Any:
            return function(params, images)

        compare(f"reading {count} images", program, options, call, 5)


if __name__ == "__main__":
    main()
