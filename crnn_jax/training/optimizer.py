"""Builds the optax chain and the schedule of a config."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from crnn_jax.config import OptimizerConfig

_MOST_STEPS = 2**31 - 1  # steps are counted in i32


class Pace(NamedTuple):
    """The numbers of the schedule of a run.

    They are arguments of the compiled step, so runs of other lengths and rates share its program.
    """

    peak: Any  # f32, the highest learning rate
    warmup: Any  # i32, updates before the peak
    num_steps: Any  # i32, updates of the run


def pace(config: OptimizerConfig, num_steps: int) -> Pace:
    """Returns the numbers of the schedule of a run of `num_steps` updates.

    The warm-up takes at most half of the updates, so short runs reach the peak too.
    """
    num_steps = min(num_steps, _MOST_STEPS)
    warmup = min(config.warmup_steps, num_steps // 2)
    return Pace(np.float32(config.learning_rate), np.int32(warmup), np.int32(num_steps))


def static_part(config: OptimizerConfig) -> OptimizerConfig:
    """Returns what is compiled into a step: the config without the settings that `Pace` has."""
    defaults = OptimizerConfig()
    return dataclasses.replace(
        config, learning_rate=defaults.learning_rate, warmup_steps=defaults.warmup_steps
    )


def schedule(config: OptimizerConfig, pace: Pace) -> optax.Schedule:
    """Returns the learning rate of update 0, 1, ...: linear warm-up, then the config's schedule.

    It is that of `optax.join_schedules` of a linear and a cosine schedule, which do not allow
    lengths that are arguments of a compiled function.

    Args:
      config: the config of the optimizer, for its schedule only.
      pace: the numbers of the schedule.
    """

    def rate(step: Any) -> jax.Array:
        # The rate of update 0 is not 0: it is step 1 of the rise.
        rise = (step + 1) / (pace.warmup + 1)
        after: Any = 1.0
        if config.schedule == "cosine":
            done = (step - pace.warmup) / jnp.maximum(pace.num_steps - pace.warmup, 1)
            after = (1 + jnp.cos(jnp.pi * jnp.minimum(done, 1))) / 2
        value: jax.Array = pace.peak * jnp.where(step < pace.warmup, rise, after)
        return value

    return rate


def build(config: OptimizerConfig, pace: Pace) -> optax.GradientTransformation:
    """Builds the chain of clipping by norm, trust ratios and momentum or Adam, and learning rate.

    With trust ratios (LARS, You et al. 2017, arXiv 1708.03888, without weight decay) the gradient
    of each variable has the norm of the variable. So the rate is relative: at 0.004 a step changes
    a variable by 0.4 % of its norm before momentum, whatever the scale of the loss. A variable of
    norm 0, such as a new bias, keeps its gradient, and clipping makes a difference only there.
    With Adam, which would undo such a scaling, the ratios scale its update (LAMB, You et al. 2020,
    arXiv 1904.00962).

    Args:
      config: the config of the optimizer; the numbers that `pace` has are taken from there.
      pace: the numbers of the schedule. They can be arguments of a function that is being compiled.
    """
    rate = schedule(config, pace)
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
