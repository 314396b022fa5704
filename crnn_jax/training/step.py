"""The jitted training step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from crnn_jax.config import Config
from crnn_jax.data.augment import augment
from crnn_jax.models import crnn
from crnn_jax.runtime import xla_options
from crnn_jax.runtime.data_parallel import ONE, Devices
from crnn_jax.training.context import TrainContext
from crnn_jax.training.objective import objective
from crnn_jax.training.state import TrainState, stream


def gradients(
    state: TrainState,
    images: jax.Array,  # u8 [N, W, H, C]
    labels: jax.Array,  # i32 [N, L]
    key: jax.Array,  # of the run
    indices: jax.Array,  # i32 [B], this device's shard of the batch
    mask: jax.Array,  # bool [B], False for padding
    *,
    model: crnn.CRNN,
    config: Config,
    devices: Devices,
) -> tuple[Any, jax.Array, jax.Array]:
    """Gradients of the objective, summed over devices, with the mean CTC and flat-start losses."""
    plain = state.guide.share > 0
    pixels = images[indices]
    if config.augment.is_on:
        augment_key = devices.per_device_key(stream(key, "augment", state.step))
        pixels = jax.lax.cond(
            plain,
            lambda x: x.astype(jnp.float32),
            lambda x: augment(augment_key, x, config.augment),
            pixels,
        )
    dropout_key = devices.per_device_key(stream(key, "dropout", state.step))
    drop = jnp.where(plain, 0.0, 1.0)

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        logits = crnn.apply_with_dropout(model, params, pixels, dropout_key, drop)
        share, total = state.guide.share, devices.psum
        return objective(logits, labels[indices], pixels, mask, share, config, total)

    grads, (loss, guide_loss) = jax.grad(loss_of, has_aux=True)(state.params)
    return devices.psum((grads, loss, guide_loss))


def train_step(
    state: TrainState,
    images: jax.Array,  # u8 [N, W, H, C]
    labels: jax.Array,  # i32 [N, L]
    indices: jax.Array,  # i32 [B]
    mask: jax.Array,  # bool [B], False for padding
    key: jax.Array,  # of the run
    *,
    model: crnn.CRNN,
    optimizer: optax.GradientTransformation,
    config: Config,
    num_steps: int,
    devices: Devices = ONE,
) -> tuple[TrainState, jax.Array]:
    """One update on a batch, of `num_steps`: the new state, and the mean CTC loss before it."""
    of_shard = functools.partial(gradients, model=model, config=config, devices=devices)
    of_batch = devices.shard_batch(of_shard)
    grads, loss, guide_loss = of_batch(state, images, labels, key, indices, mask)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A short memory first, so that the average does not drag the initial weights along.
    decay = jnp.minimum(config.train.average_decay, (1 + state.step) / (25 + state.step))
    average = optax.incremental_update(params, state.average, 1 - decay)
    guide = state.guide.advance(
        guide_loss, state.step, model.num_classes, num_steps, config.flat_start
    )
    return TrainState(state.step + 1, params, average, opt_state, guide), loss


def train_steps(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    indices: jax.Array,  # i32 [S, B]
    mask: jax.Array,  # bool [S, B]
    key: jax.Array,
    **arguments: Any,
) -> tuple[TrainState, jax.Array]:
    """`train_step` on S batches, one after the other: the state after them, and the losses [S]."""

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, jax.Array]:
        return train_step(state, images, labels, *batch, key, **arguments)

    if len(indices) == 1:
        state, loss = step(state, (indices[0], mask[0]))
        return state, loss[None]
    return jax.lax.scan(step, state, (indices, mask))


def jitted_steps(task: TrainContext, config: Config) -> Callable[..., tuple[TrainState, jax.Array]]:
    """`train_steps` of a run: traced and compiled once in a process, however often it goes on."""
    num_steps = config.train.epochs * task.steps_per_epoch
    return _jitted_steps(task.model, task.optimizer, config, num_steps, task.devices)


@functools.lru_cache(maxsize=4)
def _jitted_steps(
    model: crnn.CRNN,
    optimizer: optax.GradientTransformation,
    config: Config,
    num_steps: int,
    devices: Devices,
) -> Callable[..., tuple[TrainState, jax.Array]]:
    steps = functools.partial(
        train_steps,
        model=model,
        optimizer=optimizer,
        config=config,
        num_steps=num_steps,
        devices=devices,
    )
    options = xla_options.options(xla_options.TRAINING)
    return jax.jit(steps, donate_argnums=0, compiler_options=options)
