"""The training state, its initialization, and the keys of the random streams."""

from __future__ import annotations

import functools
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from crnn_jax.config import FlatStartConfig, OptimizerConfig
from crnn_jax.models import crnn
from crnn_jax.runtime import program_store
from crnn_jax.training import flat_start
from crnn_jax.training import optimizer as optimizer_lib
from crnn_jax.training.context import TrainContext


class TrainState(NamedTuple):
    """The state of a run, which each step replaces."""

    step: jax.Array  # i32, updates done
    params: Any
    ema: Any  # exponential moving average of the parameters, for evaluation and inference
    opt_state: optax.OptState
    flat_start: flat_start.FlatStart


def stream_key(key: jax.Array, name: str, step: int | jax.Array = 0) -> jax.Array:
    """Returns the key of a named stream at a step. Streams do not depend on each other."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def init_state(context: TrainContext) -> TrainState:
    """Returns the state before the first step, with fresh parameters."""
    key = stream_key(jax.random.key(context.config.seed), "init")
    params = crnn.init(context.model, key, context.config.data)
    static = optimizer_lib.static_part(context.config.optimizer)
    state: TrainState = _fresh(params, optimizer=static, config=context.config.flat_start)
    return state


# Jitted as one program: otherwise each array of zeros would be a separate program.
@functools.partial(program_store.jit, static_argnames=("optimizer", "config"))
def _fresh(params: Any, *, optimizer: OptimizerConfig, config: FlatStartConfig) -> TrainState:
    ema = jax.tree.map(jnp.copy, params)  # the step donates its arguments
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        ema,
        optimizer_lib.build(optimizer, optimizer_lib.pace(optimizer, 1)).init(params),
        flat_start.start(config),
    )
