"""The jitted training step: objective, gradients, update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from crnn_jax.charset import PAD
from crnn_jax.config import Config
from crnn_jax.data.augment import augment
from crnn_jax.models import crnn
from crnn_jax.models import ctc_loss as ctc
from crnn_jax.runtime import xla_options
from crnn_jax.runtime.data_parallel import ONE, Devices
from crnn_jax.training import flat_start
from crnn_jax.training.context import TrainContext
from crnn_jax.training.state import TrainState, stream


def objective(
    logits: jax.Array,
    labels: jax.Array,
    pixels: jax.Array,
    mask: jax.Array,
    guide_share: jax.Array,
    config: Config,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The value to minimize, and the mean CTC loss (per image) and flat-start loss (per step).

    On a shard of a batch: its contribution. The shards sum to the batch value.

    Args:
      logits: [B, T, K].
      labels: i32 [B, L].
      pixels: [B, W, H, C], what the model saw.
      mask: bool [B], False for padding.
      guide_share: f32, the weight of the flat-start loss.
      config: of the run.
      total: the sum of a number over the shards of the batch; not differentiated.
    """
    weights, count = config.loss, total(jnp.sum(mask))

    def mean(losses: jax.Array) -> jax.Array:
        return jnp.sum(losses, where=mask) / count

    losses = ctc.ctc_loss(logits, labels)
    value = ctc_loss = mean(losses)
    if weights.by_length:
        lengths = jnp.sum(labels != PAD, axis=1)
        value = mean(losses / jnp.maximum(lengths, 1)) * total(mean(lengths))
    if weights.entropy:
        # Confidence penalty of Pereyra et al. 2017 (arXiv 1701.06548), section 3.
        value -= weights.entropy * mean(entropy(logits))
    guide = jnp.zeros(())
    if config.flat_start.until:
        guide = mean(flat_start.loss(logits, labels, pixels, config.flat_start.trim))
        value = (1 - guide_share) * value + guide_share * logits.shape[1] * guide
    return value, (ctc_loss, guide)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy of the distributions, summed over the steps: [B, T, K] to [B], nats."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=(1, 2))


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
