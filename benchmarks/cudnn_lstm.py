"""The LSTM layer by cuDNN, through jax.experimental.rnn, to compare models/lstm.py with on a GPU.

Each direction is a separate call, because each has its own dropout mask. The layer cannot be
trained under `jax.vmap`, for which the cuDNN operation has no batching rule.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from crnn_jax.models.lstm import Weights


def bilstm(
    x_forward: jax.Array, x_backward: jax.Array, forward: Weights, backward: Weights
) -> jax.Array:
    """[B, T, D] twice to [B, T, 2U], like `crnn_jax.models.lstm.bilstm`."""
    flipped = one_direction(x_backward[:, ::-1], backward)
    return jnp.concatenate([one_direction(x_forward, forward), flipped[:, ::-1]], axis=-1)


def one_direction(x: jax.Array, weights: Weights) -> jax.Array:
    """[B, T, D] to [B, T, U]."""
    batch, steps, features = x.shape
    units = len(weights.recurrent_kernel)
    zeros = jnp.zeros((1, batch, units))
    return rnn.lstm(
        x,
        zeros,
        zeros,
        packed(weights),
        jnp.full(batch, steps, jnp.int32),
        input_size=features,
        hidden_size=units,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )[0]


def packed(weights: Weights) -> jax.Array:
    """Packs the weights into the one vector of cuDNN: transposed kernels, and two biases.

    The order of the gates is the same, i, f, g, o.
    """
    parts = weights.kernel.T, weights.recurrent_kernel.T, weights.bias, 0 * weights.bias
    return jnp.concatenate([part.reshape(-1) for part in parts])
