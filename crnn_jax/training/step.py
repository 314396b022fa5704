"""The jitted training step: objective, gradients, update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int, Key, Shaped, UInt8

from crnn_jax.charset import PAD
from crnn_jax.config import AugmentConfig, FlatStartConfig, LossConfig, OptimizerConfig
from crnn_jax.data.augment import augment
from crnn_jax.models import crnn, network
from crnn_jax.models import ctc_loss as ctc
from crnn_jax.runtime import program_store, xla_options
from crnn_jax.runtime.data_parallel import SINGLE_DEVICE, Devices
from crnn_jax.runtime.first_call import compiled_by_all
from crnn_jax.training import flat_start
from crnn_jax.training import optimizer as optimizer_lib
from crnn_jax.training.context import TrainContext
from crnn_jax.training.state import TrainState, stream_key


class Recipe(NamedTuple):
    """The settings that are compiled into the step; hashable.

    Seed, fold, normalization, learning rate and length are not part of it: runs that differ only in
    them share a program.
    """

    loss: LossConfig
    flat_start: FlatStartConfig
    augment: AugmentConfig
    ema_decay: float
    optimizer: OptimizerConfig  # without the settings that `Pace` has
    devices: Devices = SINGLE_DEVICE


class Constants(NamedTuple):
    """The arguments of the step that are constant during a run but differ between runs."""

    model: crnn.Model
    key: Key[Array, ""]  # jax.random.key(config.seed)
    pace: optimizer_lib.Pace
    trained_share: Any = 1.0  # f32, share of the trained weights in the EMA
    init_params: Any = None  # the parameters of train.init_from, unless trained_share is 1


class Batch(NamedTuple):
    """The examples of a step, or of S steps: rows of a data set that is on the device.

    Without indices, images and labels are only those of the batch: [B, ...], or [S, B, ...].
    """

    images: UInt8[Array, "N W H C"]
    labels: Int[Array, "N L"]
    indices: Int[Array | np.ndarray, "... B"] | None
    mask: Bool[Array | np.ndarray, "... B"]  # False for padding


class Examples(NamedTuple):
    """The examples of a batch, or of a shard of it, as the model sees them."""

    pixels: Shaped[Array, "B W H C"]
    labels: Int[Array, "B L"]
    mask: Bool[Array, " B"]  # False for padding


def constants(context: TrainContext) -> Constants:
    """Returns the constants of a run, on its devices."""
    key = jax.random.key(context.config.seed)
    share = np.float32(context.trained_share)
    values = Constants(context.model, key, context.pace, share)
    placed: Constants = context.devices.replicate(values)
    return placed


def recipe(context: TrainContext) -> Recipe:
    """Returns the settings of a run that are compiled into its step."""
    config = context.config
    return Recipe(
        config.loss,
        config.flat_start,
        config.augment,
        config.train.ema_decay,
        optimizer_lib.static_part(config.optimizer),
        context.devices,
    )


def objective(
    logits: Float[Array, "B T K"], examples: Examples, weight: Float[Array, ""], recipe: Recipe
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, ""]]]:
    """Returns the objective, and the mean CTC loss (per image) and flat-start loss (per step).

    On a shard, each value is the shard's contribution. The shards sum to the batch value. So a new
    term must be a sum over images, divided by the number of images in the batch, as in `mean`.
    Do not pass values that depend on the parameters through `psum`: their gradients would be summed
    over devices twice.

    Args:
      logits: from the model.
      examples: what the model saw.
      weight: the weight of the flat-start loss.
      recipe: the settings of the run.
    """
    pixels, labels, mask = examples
    settings, psum = recipe.loss, recipe.devices.psum
    with_text = mask & jnp.any(labels != PAD, axis=1)
    count, num_with_text = psum(jnp.stack([jnp.sum(mask), jnp.sum(with_text)]))

    def mean(values: Shaped[Array, " B"]) -> Float[Array, ""]:
        """Returns the shard's contribution to the mean over the batch."""
        share: Array = jnp.sum(values, where=mask) / count
        return share

    losses = ctc.ctc_loss(logits, labels)
    value = ctc_loss = mean(losses)
    if settings.by_length:
        lengths = jnp.sum(labels != PAD, axis=1)
        value = mean(losses / jnp.maximum(lengths, 1)) * psum(mean(lengths))
    if settings.entropy:
        # Confidence penalty of Pereyra et al. 2017 (arXiv 1701.06548), section 3.
        value -= settings.entropy * mean(entropy(logits))
    flat_loss = jnp.zeros(())
    if recipe.flat_start.until:
        # An image without text has no segmentation; its loss of 0 must not lower the mean.
        flat_losses = flat_start.loss(logits, labels, pixels, recipe.flat_start.trim)
        flat_loss = jnp.sum(flat_losses, where=with_text) / jnp.maximum(num_with_text, 1)
        # The flat-start loss is per step, the CTC loss per image.
        value = (1 - weight) * value + weight * logits.shape[1] * flat_loss
    return value, (ctc_loss, flat_loss)


def entropy(logits: Float[Array, "B T K"]) -> Float[Array, " B"]:
    """Returns the entropy summed over time steps, in nats."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=(1, 2))


def augmented(
    state: TrainState,
    constants: Constants,
    batch: Batch,
    positions: Int[Array, " B"],
    recipe: Recipe,
) -> tuple[Examples, network.Dropout]:
    """Returns the augmented examples and the dropout of this step; both are off in the flat start.

    Args:
      state: the state before the step.
      constants: the constants of the run.
      batch: the batch, or a shard of it.
      positions: the positions of the examples in the whole batch. With the run's key and the step,
        they determine the random numbers.
      recipe: the settings of the run.
    """

    def keys(name: str) -> Key[Array, " B"]:
        key = stream_key(constants.key, name, state.step)
        return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)

    is_flat_start = state.flat_start.weight > 0
    pixels, labels = batch.images, batch.labels
    if batch.indices is not None:
        pixels, labels = pixels[batch.indices], labels[batch.indices]
    if recipe.augment.is_on:
        pixels = jax.lax.cond(
            is_flat_start,
            lambda x: x.astype(jnp.float32),
            lambda x: augment(keys("augment"), x, recipe.augment),
            pixels,
        )
    examples = Examples(pixels, labels, jnp.asarray(batch.mask))
    return examples, network.Dropout(keys("dropout"), jnp.where(is_flat_start, 0.0, 1.0))


def gradients(
    state: TrainState,
    constants: Constants,
    batch: Batch,
    positions: Int[Array, " B"],
    recipe: Recipe,
) -> tuple[Any, Float[Array, ""], Float[Array, ""]]:
    """Gradients of the objective, summed over devices, with the mean CTC and flat-start losses.

    `batch` is this device's shard, and `positions` those of its examples in the whole batch.
    """
    examples, dropout = augmented(state, constants, batch, positions, recipe)

    def loss_of(params: Any) -> tuple[Array, tuple[Array, Array]]:
        logits = crnn.apply(constants.model, params, examples.pixels, dropout)
        return objective(logits, examples, state.flat_start.weight, recipe)

    grads, (loss, flat_loss) = jax.grad(loss_of, has_aux=True)(state.params)
    sums: tuple[Any, Array, Array] = recipe.devices.psum((grads, loss, flat_loss))
    return sums


def train_step(
    state: TrainState, batch: Batch, constants: Constants, recipe: Recipe
) -> tuple[TrainState, Float[Array, ""]]:
    """Runs one update. Returns the new state and the mean CTC loss before it, in nats per image."""

    is_drawn = batch.indices is None

    def of_shard(state: TrainState, constants: Constants, data: Any, rows: Any) -> Any:
        shard, positions = rows
        return gradients(state, constants, Batch(*data, *shard), positions, recipe)

    of_batch = recipe.devices.shard_batch(of_shard)
    data, rows = ((), batch) if is_drawn else (batch[:2], batch[2:])
    positions = jnp.arange(len(batch.mask))
    grads, loss, flat_loss = of_batch(state, constants, data, (tuple(rows), positions))
    optimizer = optimizer_lib.build(recipe.optimizer, constants.pace)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # The decay is small at first, so that the EMA soon forgets the initial parameters.
    decay = jnp.minimum(recipe.ema_decay, (1 + state.step) / (25 + state.step))
    kept = params
    if constants.init_params is not None:
        # WiSE-FT, Wortsman et al. 2022 (arXiv 2109.01903): the EMA of a mean is a mean of EMAs.
        kept = optax.incremental_update(params, constants.init_params, constants.trained_share)
    ema = optax.incremental_update(kept, state.ema, 1 - decay)
    flat = state.flat_start.advance(
        flat_loss,
        state.step,
        constants.model.num_classes,
        constants.pace.num_steps,
        recipe.flat_start,
    )
    return TrainState(state.step + 1, params, ema, opt_state, flat), loss


def train_steps(
    state: TrainState, batch: Batch, constants: Constants, recipe: Recipe
) -> tuple[TrainState, Float[Array, " S"]]:
    """Applies `train_step` to S batches in turn. Returns the last state and the losses."""

    data, rows = ((), batch) if batch.indices is None else (batch[:2], batch[2:])

    def step(state: TrainState, rows: Any) -> tuple[TrainState, Array]:
        return train_step(state, Batch(*data, *rows), constants, recipe)

    if len(batch.mask) == 1:
        state, loss = step(state, jax.tree.map(lambda x: x[0], tuple(rows)))
        return state, loss[None]
    return jax.lax.scan(step, state, tuple(rows))


Steps = Callable[[TrainState, Batch, Constants], tuple[TrainState, Array]]


def jitted_steps(context: TrainContext) -> Steps:
    """Returns `train_steps`, compiled once per process for all runs of the same recipe."""
    return _jitted(recipe(context), None)


def jitted_steps_of_runs(context: TrainContext) -> Steps:
    """Returns `train_steps` of R runs in one program.

    State, indices, mask, constants and losses have a leading axis of R. Images and labels are
    shared.
    """
    # For vmap, this Batch contains axes instead of arrays.
    return _jitted(recipe(context), (0, Batch(None, None, 0, 0), 0))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def _jitted(recipe: Recipe, in_axes: Any) -> Steps:
    def steps(state: TrainState, batch: Batch, constants: Constants) -> tuple[TrainState, Array]:
        return train_steps(state, batch, constants, recipe)

    return program_store.jit(
        jax.vmap(steps, in_axes) if in_axes else steps,
        f"{steps.__module__}.steps {recipe!r} {in_axes!r}",
        donated=(0,),
        options=lambda: xla_options.options(xla_options.TRAINING),
        wrapped=compiled_by_all,
    )
