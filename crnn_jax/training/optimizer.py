"""Builds the optax chain and the schedule of a config."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax

from crnn_jax.config import OptimizerConfig


def schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Returns the learning rate of update 0, 1, ...: linear warm-up, then the config's schedule.

    The warm-up takes at most half of the updates, so short runs reach the peak too.

    Args:
      config: the config of the optimizer.
      num_steps: the number of updates of the run.
    """
    peak = config.learning_rate
    warmup = min(config.warmup_steps, num_steps // 2)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(num_steps - warmup, 1))
    else:
        after = optax.constant_schedule(peak)
    # The rate of update 0 is not 0: it is step 1 of the rise.
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([rise, after], [warmup])


@functools.cache
def build(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Builds the chain of clipping by norm, trust ratios and momentum or Adam, and learning rate.

    With trust ratios (LARS, You et al. 2017, arXiv 1708.03888, without weight decay) the gradient
    of each variable has the norm of the variable. So the rate is relative: at 0.004 a step changes
    a variable by 0.4 % of its norm before momentum, whatever the scale of the loss. A variable of
    norm 0, such as a new bias, keeps its gradient, and clipping makes a difference only there.
    With Adam, which would undo such a scaling, the ratios scale its update (LAMB, You et al. 2020,
    arXiv 1904.00962).

    Args:
      config: the config of the optimizer.
      num_steps: the number of updates of the run.

    Returns:
      The transformation. It is the same object for the same arguments.
    """
    rate = schedule(config, num_steps)
    ratios = [optax.scale_by_trust_ratio()] if config.trust_ratio else []
    if config.name == "adam":
        adam = optax.scale_by_adam(b1=config.momentum, nesterov=config.nesterov)
        directions = [adam, *ratios]
    else:
        directions = [*ratios, optax.trace(config.momentum, config.nesterov)]
    update = optax.chain(*directions, optax.scale_by_learning_rate(rate))
    if config.clip_norm == 0:
        return update
    if not config.clip_each:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)

    def clip(gradient: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(gradient)
        return gradient * jnp.minimum(1, config.clip_norm / jnp.maximum(norm, 1e-9))

    each = optax.stateless(lambda grads, _: jax.tree.map(clip, grads))
    return optax.chain(each, update)
