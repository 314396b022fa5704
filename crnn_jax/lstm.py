"""The bidirectional LSTM of Keras, as a pure function.

Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, in Keras' layout: one
bias, and the four gates side by side in the order i, f, g, o. For one direction, with
W [D, 4U], R [U, 4U] and b [4U]:

    z_t = x_t W + h_{t-1} R + b;   i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);
    c_t = f * c_{t-1} + i * tanh(z_g);   h_t = o * tanh(c_t);   h_0 = c_0 = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Weights(NamedTuple):
    """One direction of the layer."""

    kernel: jax.Array  # [D, 4U]
    recurrent_kernel: jax.Array  # [U, 4U]
    bias: jax.Array  # [4U]


def bilstm(
    x_forward: jax.Array, x_backward: jax.Array, forward: Weights, backward: Weights
) -> jax.Array:
    """Runs both directions over [B, T, D] and returns [B, T, 2U], forward first.

    The directions take an input each because each has a dropout mask of its own; both inputs
    run with time, and so does the result. One scan walks both directions: the recurrence is
    bound by latency, not arithmetic, and the two chains of small matmuls hide each other's.
    """
    # The input's share of z for all steps is one large matmul each, outside the scan.
    z_forward = _project(x_forward, forward)  # [T, B, 4U]
    z_backward = _project(x_backward, backward)[::-1]

    def step(carry, z):
        (h_f, c_f), (h_b, c_b) = carry
        h_f, c_f = _cell(z[0] + h_f @ forward.recurrent_kernel, c_f)
        h_b, c_b = _cell(z[1] + h_b @ backward.recurrent_kernel, c_b)
        return ((h_f, c_f), (h_b, c_b)), (h_f, h_b)

    zeros = jnp.zeros((x_forward.shape[0], forward.recurrent_kernel.shape[0]), x_forward.dtype)
    start = ((zeros, zeros), (zeros, zeros))
    _, (h_forward, h_backward) = lax.scan(step, start, (z_forward, z_backward))  # [T, B, U]
    return jnp.concatenate([h_forward, h_backward[::-1]], axis=-1).swapaxes(0, 1)


def _project(x: jax.Array, weights: Weights) -> jax.Array:
    """[B, T, D] to [T, B, 4U]."""
    return x.swapaxes(0, 1) @ weights.kernel + weights.bias[None, None]


def _cell(z: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z [B, 4U] and c [B, U] to the next h and c."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
