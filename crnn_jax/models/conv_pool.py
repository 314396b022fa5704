"""Convolution, bias, ReLU and pooling as one operation, in the form that is fastest on the backend.

The operation is::

    conv_relu_pool(x, w, b) = relu(max over 2x2 of (x * w) + b)

with a 3x3 kernel, zero padding around x, and max pooling of stride 2 that drops an odd last row or
column. The maximum is taken before bias and ReLU. Both are monotone, so this changes the cost but
not the result. An accelerator computes the formula as written, in `plain`. A CPU works by windows:
by functions in C++ (native_conv.py) or, where these are missing, by XLA (window_conv.py).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from crnn_jax.models import native_conv, window_conv
from crnn_jax.runtime import backend

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_relu_pool(
    x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"], bias: Float[Array, " D"]
) -> Float[Array, "B W//2 H//2 D"]:
    """Computes relu(max over 2x2 of (x * kernel) + bias) in the fastest form on the backend."""
    if not _is_by_windows(x):
        return plain(x, kernel, bias)
    if native_conv.can_compute(x, kernel, bias):
        return native_conv.conv_relu_pool(x, kernel, bias)
    return window_conv.conv_relu_pool(x, kernel, bias)


def plain(
    x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"], bias: Float[Array, " D"]
) -> Float[Array, "B W//2 H//2 D"]:
    """`conv_relu_pool` by its definition."""
    x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)
    return jax.nn.relu(max_pool(x) + bias[None, None, None])


def conv(x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"]) -> Float[Array, "B W H D"]:
    """Computes x * kernel in the fastest form on the backend."""
    is_even = x.shape[1] % 2 == x.shape[2] % 2 == 0
    if not _is_by_windows(x) or not is_even:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)
    if native_conv.can_compute(x, kernel):
        return native_conv.conv(x, kernel)
    return window_conv.conv(x, kernel)


def _is_by_windows(x: Array) -> bool:
    """Whether x should be convolved by windows, and has one."""
    # A batch of unknown size, as in an export, cannot be cut into pieces.
    is_known = isinstance(x.shape[0], int) and x.shape[0] > 0 and x.dtype == jnp.float32
    return backend.choices().windows and is_known and min(x.shape[1:3]) >= 2


def max_pool(
    x: Float[Array, "B W H C"], across: int = 2, down: int = 2
) -> Float[Array, "B W//{across} H//{down} C"]:
    """Maximum over windows of `across` x `down`, each 1 or 2.

    An odd last row or column is dropped. The maximum is taken over strided slices, because on a
    CPU its gradient is then many times faster than that of reduce_window. At a tie the gradient is
    shared between the winners.
    """
    w, h = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    if across == 2:
        x = jnp.maximum(x[:, 0:w:2], x[:, 1:w:2])
    if down == 2:
        x = jnp.maximum(x[:, :, 0:h:2], x[:, :, 1:h:2])
    return x
