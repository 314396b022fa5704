"""Compares the choices of runtime/backend.py for a GPU with others, on any device of jax.

    python benchmarks/accelerator.py
    python benchmarks/accelerator.py --calls 1,4,16,64 --runs 1,2,4,8 --batch 16 --rounds 5

Measures milliseconds per update with several updates per call, and with several runs side by side,
and the forward and backward pass of the two LSTM layers, with our scan and, on a GPU, with cuDNN.
Images are generated, augmentation and dropout are on, and the programs take turns in one process.
gpu.sh measures these and more in five minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cudnn_lstm
import figures
import jax
import jax.numpy as jnp
import material
import numpy as np
import turns
from turns import Turn

from crnn_jax.models import lstm
from crnn_jax.training import context, state
from crnn_jax.training import step as step_lib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=_numbers, default=[1, 4, 16, 64])
    parser.add_argument("--runs", type=_numbers, default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/accelerator.json"))
    options = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.platform}: {device.device_kind}")
    with tempfile.TemporaryDirectory() as folder:
        material.draw(Path(folder), 400)
        config = material.config(Path(folder), train__batch_size=options.batch)
        job = context.prepare(config)
    updates = {f"{n} in a call": in_a_call(job, n) for n in options.calls}
    updates |= {f"{n} runs, each": side_by_side(job, n, 1) for n in options.runs}
    found = {"update": measure(f"ms an update of {options.batch}", updates, options.rounds)}
    layers = {"scan": lstm_layers(lstm.bilstm, options.batch)}
    if device.platform == "gpu":
        layers["cuDNN"] = lstm_layers(cudnn_lstm.bilstm, options.batch)
    found["lstm"] = measure("ms of the LSTM layers", layers, options.rounds)
    settings = {**vars(options), "device": device.device_kind}
    figures.write(options.out, settings, found, [f"{device.platform} {device.device_kind}"])


def in_a_call(job: context.TrainContext, count: int) -> Turn:
    """One run with `count` updates per call."""
    steps: Any = step_lib.jitted_steps(job)
    constants = step_lib.constants(job)
    current = state.init_state(job)
    # After the flat start, where a run spends nearly all of its time.
    flat_start = current.flat_start._replace(weight=jnp.zeros(()))
    current = current._replace(flat_start=flat_start)
    indices, mask = _batches(count, job.config.train.batch_size, len(job.data))
    batch = step_lib.Batch(job.images, job.labels, indices, mask)

    def call(program: Any) -> jax.Array:
        nonlocal current
        losses: jax.Array
        current, losses = program(current, batch, constants)
        return losses

    return Turn(steps.lower(current, batch, constants), call, count)


def side_by_side(job: context.TrainContext, runs: int, count: int) -> Turn:
    """Several runs side by side, with `count` updates per call."""
    steps: Any = step_lib.jitted_steps_of_runs(job)
    fresh = jax.device_get(state.init_state(job))
    # All runs start from the same weights, which does not change the amount of work. They are
    # stacked on the host, because stacking on the device would compile a program for each shape.
    current = jax.device_put(jax.tree.map(lambda leaf: np.stack([leaf] * runs), fresh))
    flat_start = current.flat_start._replace(weight=jnp.zeros(runs))
    current = current._replace(flat_start=flat_start)
    indices, mask = _batches(count, job.config.train.batch_size, len(job.data))
    indices, mask = (np.stack([array] * runs) for array in (indices, mask))
    batch = step_lib.Batch(job.images, job.labels, indices, mask)
    constants = jax.tree.map(lambda leaf: jnp.stack([leaf] * runs), step_lib.constants(job))

    def call(program: Any) -> jax.Array:
        nonlocal current
        losses: jax.Array
        current, losses = program(current, batch, constants)
        return losses

    return Turn(steps.lower(current, batch, constants), call, runs * count)


def lstm_layers(bilstm: Callable[..., jax.Array], batch: int) -> Turn:
    """Gradient of the two LSTM layers of the model: [B, 50, 64] to 256 to 128 features."""
    rng = np.random.default_rng(0)

    def weights(features: int, units: int) -> lstm.Weights:
        shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
        return lstm.Weights(*(jnp.array(rng.normal(0, 0.05, s), jnp.float32) for s in shapes))

    layers = [(weights(64, 128), weights(64, 128)), (weights(256, 64), weights(256, 64))]
    x = jnp.array(rng.normal(size=(batch, 50, 64)), jnp.float32)

    @jax.jit
    def gradient(x: jax.Array, layers: Any) -> Any:
        def total(x: jax.Array, layers: Any) -> jax.Array:
            for forward, backward in layers:
                x = bilstm(x, x, forward, backward)
            return jnp.sum(x * x)

        return jax.grad(total, argnums=(0, 1))(x, layers)

    return Turn(gradient.lower(x, layers), lambda program: program(x, layers), 1)


def measure(title: str, programs: dict[str, Turn], rounds: int) -> Any:
    """Measures milliseconds per update, in turns. Prints and returns a summary."""
    found = turns.series(turns.compile_all(programs), rounds, 0.5)
    first = next(iter(programs))
    times = {name: values for name, values in found.items() if not isinstance(values, str)}
    for name in found.keys() - times:
        print(f"{name}: {found[name]}")
    rows = figures.summary(times, first)
    print("\n" + figures.table(title, rows, first), flush=True)
    return rows


def _batches(count: int, size: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    indices = [rng.permutation(pictures)[:size] for _ in range(count)]
    return np.array(indices, np.int32), np.ones((count, size), bool)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
