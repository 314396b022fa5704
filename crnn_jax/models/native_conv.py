"""The operations of conv_pool.py by functions in C++, where there is a compiler.

They compute the formulas of window_conv.py. XLA computes one formula for a whole piece of the batch
before the next one, so the transformed pixels and the products go through memory. In native/, a few
windows go through all formulas while they are in the cache of a core. The threads of the device
share the images.

A gradient cannot be differentiated again, and `jax.export` refuses these functions. With
`CRNN_JAX_NATIVE=0`, XLA computes the operations (runtime/native.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from crnn_jax.runtime import native

_FEW = (1, 3)  # the numbers of channels of images
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def can_compute(x: Array, kernel: Array, *bias: Array) -> bool:
    """Whether these functions can convolve such arrays here. They check nothing themselves."""
    found = native.library()
    if found is None or any(array.dtype != jnp.float32 for array in (x, kernel, *bias)):
        return False
    channels, depth = kernel.shape[2:]
    fits = channels in _FEW or (channels > 0 and channels % found.columns == 0)
    fits = (
        fits
        and depth > 0
        and depth % found.columns == 0
        and kernel.shape == (3, 3, x.shape[-1], depth)
    )
    return fits and all(array.shape == (depth,) for array in bias)


@jax.custom_vjp
def conv_relu_pool(
    x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"], bias: Float[Array, " D"]
) -> Float[Array, "B W//2 H//2 D"]:
    """`conv_pool.conv_relu_pool`. Forward-mode differentiation is not supported."""
    output: Array = _call("pooled", _pooled(x, kernel), x, kernel, bias)
    return output


def _pooled_and_kept(x: Array, kernel: Array, bias: Array) -> tuple[Array, Any]:
    y = _pooled(x, kernel)
    winner = jax.ShapeDtypeStruct(y.shape, jnp.uint8)
    output, winner = _call("pooled_and_winner", (y, winner), x, kernel, bias)
    return output, (x, kernel, winner)


def _pooled_backward(kept: Any, g: Array) -> tuple[Array, Array, Array]:
    x, kernel, winner = kept
    dkernel, dbias, *dx = _call("pooled_gradient", _gradients(x, kernel), x, kernel, winner, g)
    if dx:
        return dx[0], dkernel, dbias
    # XLA leaves this out if nobody needs the gradient of an image. An odd row or column is dropped.
    windows = [jnp.where(winner == i, g, 0) for i in range(4)]
    rows = [jnp.stack(windows[:2], 3), jnp.stack(windows[2:], 3)]  # [B, A, H, 2, D]
    dy = jnp.stack(rows, 2).reshape(len(x), 2 * g.shape[1], 2 * g.shape[2], -1)
    odd = [(0, size % 2) for size in x.shape[1:3]]
    return _gradient_of_x(x, kernel, jnp.pad(dy, ((0, 0), *odd, (0, 0)))), dkernel, dbias


conv_relu_pool.defvjp(_pooled_and_kept, _pooled_backward)


@jax.custom_vjp
def conv(x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"]) -> Float[Array, "B W H D"]:
    """`conv_pool.conv` for even W and H. Forward-mode differentiation is not supported."""
    shape = jax.ShapeDtypeStruct((*x.shape[:3], kernel.shape[-1]), x.dtype)
    output: Array = _call("whole", shape, x, kernel)
    return output


def _conv_and_kept(x: Array, kernel: Array) -> tuple[Array, Any]:
    return conv(x, kernel), (x, kernel)


def _conv_backward(kept: Any, g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    dkernel, _, *dx = _call("whole_gradient", _gradients(x, kernel), x, kernel, g)
    return dx[0] if dx else _gradient_of_x(x, kernel, g), dkernel


conv.defvjp(_conv_and_kept, _conv_backward)


def _gradient_of_x(x: Array, kernel: Array, dy: Array) -> Array:
    """Returns the gradient of x, for that of all outputs."""

    def convolve(x: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)

    dx: Array = jax.vjp(convolve, x)[1](dy)[0]
    return dx


def _pooled(x: Array, kernel: Array) -> jax.ShapeDtypeStruct:
    shape = (len(x), x.shape[1] // 2, x.shape[2] // 2, kernel.shape[-1])
    return jax.ShapeDtypeStruct(shape, x.dtype)


def _gradients(x: Array, kernel: Array) -> list[jax.ShapeDtypeStruct]:
    """Returns the shapes of the gradients of kernel and bias, and of x, unless x is an image."""
    shapes = [kernel.shape, kernel.shape[-1:]]
    shapes += [] if x.shape[-1] in _FEW else [x.shape]
    return [jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes]


def _call(function: str, results: Any, *arrays: Array) -> Any:
    """Calls a function in C++. Under `jax.vmap`, it is called once for each example."""
    found = native.library()
    assert found is not None  # see `can_compute`
    # The devices of a process share its threads.
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else max(1, mesh.size // jax.process_count())
    call: Callable[..., Any] = jax.ffi.ffi_call(
        found.target(function), results, vmap_method="sequential"
    )
    return call(*arrays, devices=np.int64(devices))
