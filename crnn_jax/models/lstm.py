"""The bidirectional LSTM of Keras, as a pure function with its own gradient.

Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, in Keras' layout: one
bias, and the four gates side by side in the order i, f, g, o. For one direction, with
W [D, 4U], R [U, 4U] and b [4U]::

    z_t = x_t W + h_{t-1} R + b;   i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);
    g = tanh(z_g);   c_t = f * c_{t-1} + i * g;   h_t = o * tanh(c_t);   h_0 = c_0 = 0.

Backward in time, dh_t is the gradient from above plus dz_{t+1} R', and dc_t starts as
f_{t+1} * dc_{t+1}::

    dc_t += dh_t * o * (1 - tanh(c_t)^2);
    dz_i = dc_t * g * i * (1 - i);         dz_f = dc_t * c_{t-1} * f * (1 - f);
    dz_g = dc_t * i * (1 - g^2);           dz_o = dh_t * tanh(c_t) * o * (1 - o);
    dW = sum_t x_t' dz_t;   dR = sum_t h_{t-1}' dz_t;   db = sum_t dz_t;   dx_t = dz_t W'.

Everything that does not depend on the previous step is one large product outside the loop over
time. This includes the sums of the gradient, which autodiff would leave inside the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from crnn_jax.runtime import backend


class Weights(NamedTuple):
    """One direction of the layer."""

    kernel: Float[Array, "D 4*U"]
    recurrent_kernel: Float[Array, "U 4*U"]
    bias: Float[Array, " 4*U"]


class _Steps(NamedTuple):
    """What the gradient needs from all steps of one direction, in the order of its steps."""

    h: Float[Array, "T B U"]
    c: Float[Array, "T B U"]
    gates: Float[Array, "T B 4*U"]  # i, f, g, o


_State = tuple[Array, Array]  # h and c of a direction, or their gradients: [B, U]
_Kept = tuple[Array, Array, Weights, Weights, _Steps, _Steps]
_Inputs = tuple[Array, _Steps, Array]  # for a backward step: dh from above, the step, c before it


@jax.custom_vjp
def bilstm(
    x_forward: Float[Array, "B T D"],
    x_backward: Float[Array, "B T D"],
    forward: Weights,
    backward: Weights,
) -> Float[Array, "B T 2*{forward.recurrent_kernel.shape[0]}"]:
    """Runs both directions and returns the outputs side by side, forward first.

    Each direction takes its own input, because it has its own dropout mask. Both inputs and the
    result run forward in time. One scan runs both directions: the recurrence is bound by latency,
    not arithmetic, and the two chains of small matmuls hide each other's latency. Forward-mode
    differentiation is not supported.
    """

    def step(
        carry: tuple[_State, _State], z: tuple[Array, Array]
    ) -> tuple[tuple[_State, _State], tuple[Array, Array]]:
        (h_f, c_f), (h_b, c_b) = carry
        h_f, c_f, _ = _cell(z[0] + h_f @ forward.recurrent_kernel, c_f)
        h_b, c_b, _ = _cell(z[1] + h_b @ backward.recurrent_kernel, c_b)
        return ((h_f, c_f), (h_b, c_b)), (h_f, h_b)

    z = _project(x_forward, forward), _project(x_backward, backward)[::-1]
    return _in_time(*_scan(step, _start(z[0]), z)[1])


def _forward_and_keep(
    x_forward: Array, x_backward: Array, forward: Weights, backward: Weights
) -> tuple[Array, _Kept]:
    def step(
        carry: tuple[_State, _State], z: tuple[Array, Array]
    ) -> tuple[tuple[_State, _State], tuple[_Steps, _Steps]]:
        (h_f, c_f), (h_b, c_b) = carry
        new_f = _cell(z[0] + h_f @ forward.recurrent_kernel, c_f)
        new_b = _cell(z[1] + h_b @ backward.recurrent_kernel, c_b)
        return (new_f[:2], new_b[:2]), (_Steps(*new_f), _Steps(*new_b))

    z = _project(x_forward, forward), _project(x_backward, backward)[::-1]
    _, kept = _scan(step, _start(z[0]), z)
    out = _in_time(kept[0].h, kept[1].h)
    return out, (x_forward, x_backward, forward, backward, *kept)


def _backward(kept: _Kept, g: Array) -> tuple[Array, Array, Weights, Weights]:
    x_forward, x_backward, forward, backward, steps_f, steps_b = kept
    g_forward, g_backward = jnp.split(g.swapaxes(0, 1), 2, axis=-1)  # [T, B, U]
    transposed = forward.recurrent_kernel.T, backward.recurrent_kernel.T  # once, not every step

    def step(
        carry: tuple[_State, _State], inputs: tuple[_Inputs, _Inputs]
    ) -> tuple[tuple[_State, _State], tuple[Array, Array]]:
        (dh_f, dc_f), (dh_b, dc_b) = carry
        (g_f, steps_f, c_f), (g_b, steps_b, c_b) = inputs
        dz_f, dc_f = _cell_gradient(g_f + dh_f, dc_f, steps_f, c_f)
        dz_b, dc_b = _cell_gradient(g_b + dh_b, dc_b, steps_b, c_b)
        return ((dz_f @ transposed[0], dc_f), (dz_b @ transposed[1], dc_b)), (dz_f, dz_b)

    inputs = (
        (g_forward, steps_f, _before(steps_f.c)),
        (g_backward[::-1], steps_b, _before(steps_b.c)),
    )
    _, (dz_f, dz_b) = _scan(step, _start(steps_f.gates), inputs, reverse=True)
    dx_forward, d_forward = _sums(dz_f, _before(steps_f.h), x_forward.swapaxes(0, 1), forward)
    x_b = x_backward.swapaxes(0, 1)[::-1]
    dx_backward, d_backward = _sums(dz_b, _before(steps_b.h), x_b, backward)
    return (
        dx_forward.swapaxes(0, 1),
        dx_backward[::-1].swapaxes(0, 1),
        d_forward,
        d_backward,
    )


bilstm.defvjp(_forward_and_keep, _backward)


def _scan(step: Any, start: Any, inputs: Any, reverse: bool = False) -> Any:
    unroll = backend.choices().unroll
    return lax.scan(step, start, inputs, reverse=reverse, unroll=unroll)


def _project(x: Array, weights: Weights) -> Array:
    """Computes x W + b: [B, T, D] to [T, B, 4U]."""
    return x.swapaxes(0, 1) @ weights.kernel + weights.bias[None, None]


def _start(z: Array) -> tuple[_State, _State]:
    """Returns the initial h and c of both directions, [B, U] each, for z [T, B, 4U]."""
    zeros = jnp.zeros((z.shape[1], z.shape[2] // 4), z.dtype)
    return (zeros, zeros), (zeros, zeros)


def _in_time(h_forward: Array, h_backward: Array) -> Array:
    """Joins [T, B, U], each in the order of its steps, to [B, T, 2U] in the order of time."""
    return jnp.concatenate([h_forward, h_backward[::-1]], axis=-1).swapaxes(0, 1)


def _before(steps: Array) -> Array:
    """Returns the values before each step: zeros, then all but the last."""
    return jnp.concatenate([jnp.zeros_like(steps[:1]), steps[:-1]])


def _cell(z: Array, c: Array) -> tuple[Array, Array, Array]:
    """Maps z [B, 4U] and c [B, U] to the next h and c, and the gates [B, 4U]."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    gates = [jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)]
    # XLA would compute the gates once for c, and again for h.
    i, f, g, o = lax.optimization_barrier(gates)
    c = lax.optimization_barrier(f * c + i * g)
    return o * jnp.tanh(c), c, jnp.concatenate([i, f, g, o], axis=-1)


def _cell_gradient(dh: Array, dc: Array, step: _Steps, c_before: Array) -> tuple[Array, Array]:
    """Returns dz [B, 4U], and the dc [B, U] that the previous step starts with."""
    i, f, g, o = jnp.split(step.gates, 4, axis=-1)
    tanh_c = jnp.tanh(step.c)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    di, df, dg, do = dc * g, dc * c_before, dc * i, dh * tanh_c
    dz = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)]
    return jnp.concatenate(dz, axis=-1), dc * f


def _sums(dz: Array, h_before: Array, x: Array, weights: Weights) -> tuple[Array, Weights]:
    """Returns dx [T, B, D] and the gradients of the weights, given dz [T, B, 4U]."""
    flat = dz.reshape(-1, dz.shape[-1])

    def over_steps(a: Array) -> Array:
        return a.reshape(len(flat), -1).T @ flat

    d_weights = Weights(over_steps(x), over_steps(h_before), flat.sum(0))
    return (flat @ weights.kernel.T).reshape(x.shape), d_weights
