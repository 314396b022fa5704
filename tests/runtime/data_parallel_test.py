"""A batch split over three devices, in a process that has them, against the whole of it on one."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.runtime import data_parallel
from crnn_jax.training import state, step
from crnn_jax.training.context import prepare
from tests.helpers.quiet import QUIET


def updates(task, config, some, key):
    """Losses of three updates on one batch, and the state after them."""
    images, labels = some.replicate((task.data.images, np.asarray(task.labels)))
    task = task._replace(devices=some, images=images, labels=labels)
    mask = np.ones((1, 24), bool)
    mask[0, 11:] = False  # the third device has nothing but padding, the second three of eight
    batch = step.Batch(*task.batch(np.arange(24, dtype=np.int32)[None]), mask)
    constants = some.replicate(step.Constants(task.model, key))
    fresh = state.init_state(task, config)
    half = fresh._replace(guide=fresh.guide._replace(share=np.float32(0.5)))
    current, losses = some.replicate(half), []
    for _ in range(3):
        current, loss = step.jitted_steps(task)(current, batch, constants)
        losses.append(loss[0])
    return jax.device_get((losses, data_parallel.one(current)))


def compare(config):
    """The largest differences of losses and of state, and what a split function can do."""
    task, key = prepare(config), jax.random.key(3)
    assert task.devices.mesh.size == 3
    split = updates(task, config, task.devices, key)
    whole = updates(task, config, data_parallel.ONE, key)
    differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), split, whole)

    def draw(key, numbers):
        own = jax.random.uniform(task.devices.per_device_key(key))
        return task.devices.psum((own, numbers.sum()))

    numbers = np.arange(6)
    drawn, total = task.devices.shard_batch(draw)(key, numbers)
    expected = sum(jax.random.uniform(jax.random.fold_in(key, i)) for i in range(3))
    return {
        "losses": max(differences[0]),
        "state": max(jax.tree.leaves(differences[1])),
        "steps": int(split[1].step),
        "drawn": abs(float(drawn - expected)),
        "total": int(total),
    }


def test_a_split_batch_is_the_whole_one(tiny_config):
    config = tiny_config(QUIET, train__batch_size=24, loss__by_length=True, loss__entropy=0.01)
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
    # Rounding: the losses are about 20 nats, and sums are taken in another order.
    assert found["losses"] < 1e-4
    assert found["state"] < 1e-5
    assert found["steps"] == 3
    assert found["drawn"] < 1e-6
    assert found["total"] == 15


if __name__ == "__main__":
    print(json.dumps(compare(config_lib.from_dict(json.loads(sys.argv[1])))))
