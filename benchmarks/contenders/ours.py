"""This package, through the public functions that its commands use."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import worker

from crnn_jax.runtime import allocator, cpu_devices

# As run.py and predict do, before importing jax.
JOB = worker.Job(**json.loads(sys.argv[1]))
allocator.keep_memory(cpu_devices.use(JOB.batch) if JOB.work == "train" else 1)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from crnn_jax import config as config_lib  # noqa: E402
from crnn_jax.inference import evaluate, recognizer  # noqa: E402
from crnn_jax.models import crnn, ctc_loss  # noqa: E402
from crnn_jax.runtime import data_parallel, xla_options  # noqa: E402
from crnn_jax.training import context, state  # noqa: E402
from crnn_jax.training import step as step_lib  # noqa: E402


def recipe(job: worker.Job) -> config_lib.Config:
    """Returns the config of a job. The variant 'recipe' trains like base.py, with augmentation."""
    config = config_lib.from_dict(job.config)
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, batch_size=job.batch)
    )
    if job.variant == "recipe":
        return config
    even = config_lib.with_changes(
        config_lib.to_dict(config),
        {
            **{f"augment.{f.name}": 0 for f in dataclasses.fields(config.augment)},
            "flat_start.until": 0.0,
        },
    )
    return config_lib.from_dict(even)


def prepare(job: worker.Job) -> worker.Work:
    config = recipe(job)
    task_ = context.prepare(config)
    fresh = state.init_state(task_)
    params = jax.tree.map(np.asarray, fresh.params)  # the step donates the state
    read = xla_options.jit_reading(lambda params, images: crnn.apply(task_.model, params, images))
    images, labels = task_.data.images, data_parallel.first_shard(task_.labels)
    loss = ctc_loss.ctc_loss(read(params, images[: job.batch]), labels[: job.batch]).mean()
    answers = {
        "logits": np.asarray(read(params, images[: worker.CHECKED])),
        "loss": float(loss),
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    packages = ("jax", "jaxlib", "flax", "optax")
    if job.work == "train":
        turn = train_turn(job, task_, fresh)
    else:
        turn = read_turn(job, config, task_, jax.device_put(params), read)
    return worker.Work(turn, count, packages, **answers)


def train_turn(job: worker.Job, task_: context.TrainContext, training: state.TrainState) -> Any:
    step, constants = step_lib.jitted_steps(task_), step_lib.constants(task_)
    training = task_.devices.replicate(training)
    batches = itertools.cycle([b.astype(np.int32)[None] for b in job.batches(8, len(task_.data))])
    mask = np.ones((1, job.batch), bool)
    if job.variant == "recipe":  # after the flat start, where a run spends nearly all of its time
        flat = training.flat_start
        flat = flat._replace(weight=jax.numpy.zeros_like(flat.weight))
        training = training._replace(flat_start=flat)

    def call() -> Any:
        nonlocal training
        batch = step_lib.Batch(task_.images, task_.labels, next(batches), mask)
        training, loss = step(training, batch, constants)
        return loss

    return worker.timed(call, jax.block_until_ready)


def read_turn(
    job: worker.Job,
    config: config_lib.Config,
    task_: context.TrainContext,
    params: Any,
    read: Callable[..., Any],
) -> Any:
    pixels = task_.data.images[: job.batch]
    if job.variant == "":  # arrays in, logits out, like the other contenders
        return worker.timed(lambda: np.asarray(read(params, pixels)))
    if job.variant == "texts":  # texts and confidences, one batch at a time

        def texts() -> list[evaluate.Reading]:
            answers: list[evaluate.Reading] = []
            for start in range(0, len(pixels), evaluate.BATCH):
                batch = pixels[start : start + evaluate.BATCH]
                outputs = evaluate.read(params, batch, 1.0, model=task_.model)
                ids, log_probability, _ = jax.device_get(outputs)
                answers += evaluate.to_readings(task_.charset, ids, log_probability)
            return answers

        return worker.timed(texts)
    reader = recognizer.Recognizer(config, task_.charset, task_.model, params, 0, "", 1.0)
    pictures = list(pixels[..., 0].swapaxes(1, 2))  # each u8 [H, W]
    return worker.timed(lambda: reader.predict(pictures))


if __name__ == "__main__":
    worker.serve(prepare)
