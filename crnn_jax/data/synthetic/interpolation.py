"""Lookups at points between pixels, in forms that are fast on a CPU.

XLA's CPU backend fuses the computation of a lookup's input into the lookup, and repeats it for
every pixel. The same happens to an input that is broadcast along one axis. So separate programs
compute the places, and sums over two axes are matrix products.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def at(values: jax.Array, places: jax.Array) -> jax.Array:
    """Returns values[places]. All places must be inside."""
    return values.at[places].get(mode="promise_in_bounds")


def interpolate(four: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Interpolates between the bytes of u32: at (0, 0), (1, 0), (0, 1), (1, 1) of (u, v)."""
    a, b, c, d = (((four >> (8 * k)) & 255).astype(jnp.float32) for k in range(4))
    top, bottom = a + u * (b - a), c + u * (d - c)
    return top + v * (bottom - top)


@jax.jit
def packed(canvas: jax.Array) -> jax.Array:
    """Packs u8 [B, W, H] into u32: each pixel with its neighbors to the right, below, and both."""
    wide = jnp.pad(canvas, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(jnp.uint32)
    return (
        wide[:, :-1, :-1] | wide[:, 1:, :-1] << 8 | wide[:, :-1, 1:] << 16 | wide[:, 1:, 1:] << 24
    )


@jax.jit
def sample(packed: jax.Array, places: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Interpolates the canvas at `places`, rounded to whole levels: u8 [B, W, H]."""
    return jnp.rint(interpolate(at(packed.ravel(), places), u, v)).astype(jnp.uint8)


def outer(a: jax.Array, b: jax.Array, y: jax.Array) -> jax.Array:
    """Returns a[..., None] + b[..., None] y for a, b [..., W] and y [H], as a matrix product."""
    left, right = jnp.stack((a, b), -1), jnp.stack((jnp.ones_like(y), y))
    return jnp.dot(left, right, precision=jax.lax.Precision.HIGHEST)


def sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a[:, :, None] + b[:, None, :] for a [B, W] and b [B, H], as a matrix product."""
    left, right = jnp.stack((a, jnp.ones_like(a)), -1), jnp.stack((jnp.ones_like(b), b), 1)
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
