"""A batch split over two and three devices, compared with one device, in a new process."""

import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.runtime import data_parallel
from crnn_jax.training import state, step
from crnn_jax.training.context import TrainContext, prepare
from experiments.ablations import NO_AUGMENTATION
from tests.helpers.fixtures import MakeConfig

SIZE = 24


def on(context: TrainContext, devices: Any) -> Any:
    images, labels = devices.replicate((context.data.images, np.asarray(context.labels)))
    return context._replace(devices=devices, images=images, labels=labels)


def batch_of(context: TrainContext) -> Any:
    mask = np.ones(SIZE, bool)
    mask[11:] = False  # the third device has only padding, the second three of eight
    return step.Batch(context.images, context.labels, np.arange(SIZE, dtype=np.int32), mask)


def at_weight(state: Any, weight: Any) -> Any:
    """Returns the state with this flat-start weight; 0 turns augmentation and dropout on."""
    flat_start = state.flat_start._replace(weight=np.float32(weight))
    return state._replace(flat_start=flat_start)


def updates(context: TrainContext, weight: Any) -> Any:
    """Returns losses of three updates on one batch, and the state after them."""
    batch = batch_of(context)
    batch = batch._replace(indices=batch.indices[None], mask=batch.mask[None])
    fresh = at_weight(state.init_state(context), weight)
    current, losses = context.devices.replicate(fresh), []
    for _ in range(3):
        current, loss = step.jitted_steps(context)(current, batch, step.constants(context))
        losses.append(loss[0])
    return jax.device_get((losses, data_parallel.first_shard(current)))


def drawn(context: TrainContext) -> Any:
    """Returns the augmented pixels and dropout masks of a step, assembled from the devices."""
    recipe, fresh = step.recipe(context), at_weight(state.init_state(context), 0)

    def of_shard(constants: Any, data: Any, rows: Any) -> Any:
        *shard, positions = rows
        batch = step.Batch(*data, *shard)
        examples, dropout = step.augmented(fresh, constants, batch, positions, recipe)
        ones = jnp.ones((len(positions), 50))
        rows = examples.pixels, dropout(ones, 0.5, "layer", (50,))
        whole = [jnp.zeros((SIZE, *x.shape[1:])).at[positions].set(x) for x in rows]
        return context.devices.psum(whole)

    batch = batch_of(context)
    call = jax.jit(context.devices.shard_batch(of_shard))
    return jax.device_get(call(step.constants(context), batch[:2], (*batch[2:], jnp.arange(SIZE))))


def compare(config: Config) -> dict[str, Any]:
    """Returns the largest differences of losses and state, and whether draws are bit-identical."""
    context = prepare(config)
    assert context.devices.mesh.size == 3
    two = data_parallel.Devices(Mesh(np.array(jax.devices()[:2]), context.devices.mesh.axis_names))
    one, two, three = (
        on(context, devices) for devices in (data_parallel.SINGLE_DEVICE, two, context.devices)
    )
    # The distortions are compared below.
    values = config_lib.with_changes(config_lib.to_dict(config), NO_AUGMENTATION)
    split, whole = (c._replace(config=config_lib.from_dict(values)) for c in (three, one))
    differences = [
        jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()), updates(split, weight), updates(whole, weight)
        )
        for weight in (0.5, 0.0)
    ]
    pixels, masks = drawn(one)
    return {
        "losses": max(loss for losses, _ in differences for loss in losses),
        "state": max(max(jax.tree.leaves(state)) for _, state in differences),
        "same": [
            bool(np.array_equal(a, b))
            for some in (two, three)
            for a, b in zip(drawn(one), drawn(some), strict=True)
        ],
        "different rows": [len(np.unique(x.reshape(SIZE, -1), axis=0)) for x in (pixels, masks)],
    }


def test_a_split_batch_is_the_whole_one(tiny_config: MakeConfig) -> None:
    config = tiny_config(train__batch_size=24, loss__by_length=True, loss__entropy=0.01)
    command = [
        sys.executable,
        "-m",
        "tests.runtime.data_parallel_test",
        json.dumps(dataclasses.asdict(config)),
    ]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # Rounding: the losses are about 20 nats, and sums have another order.
    assert found["losses"] < 1e-4
    assert found["state"] < 1e-5
    # Random draws are not summed, so they are bit-identical on one, two and three devices.
    assert found["same"] == [True] * 4
    assert found["different rows"] == [SIZE, SIZE]


if __name__ == "__main__":
    print(json.dumps(compare(config_lib.from_dict(json.loads(sys.argv[1])))))
