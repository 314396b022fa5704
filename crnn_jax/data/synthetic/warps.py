"""Warps of generated images: the source point of each pixel."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from crnn_jax.data.synthetic.interpolation import sums
from crnn_jax.data.synthetic.random_params import NamedDraws
from crnn_jax.data.synthetic.sine import sine
from crnn_jax.data.synthetic.style import Style


def wave(draws: NamedDraws, name: str, count: int) -> jax.Array:
    """Returns a sin(2 pi (i / length + phase)) for i from 0, f32 [count]."""
    amplitude, length, phase = (draws.even(name + suffix) for suffix in ("", "_length", "_phase"))
    return amplitude * jnp.sin(2 * jnp.pi * (jnp.arange(count) / length + phase))


Places = tuple[jax.Array, jax.Array, jax.Array]  # as `interpolation.sample` takes them


@functools.partial(jax.jit, static_argnames="style")
def waves(
    wave_x: jax.Array, wave_y: jax.Array, *, style: Style
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns the source of each pixel when rows [B, H] and columns [B, W] are moved.

    A row is moved along the width, a column along the height.

    Returns:
      The source column, and places, u and v for `interpolation.sample`: [B, W, H] each.
    """
    x = sums(_columns(style, wave_y.shape), wave_x)
    y = sums(wave_y, _rows(style, wave_x.shape))
    return jnp.clip(x, 0, style.width - 1), *_places(x, y, style)


@functools.partial(jax.jit, static_argnames="style")
def water(draws: NamedDraws, *, style: Style) -> Places:
    """Returns the source of each pixel under circular waves, for `interpolation.sample`.

    A pixel is moved along the radius from a point by a sin(distance / length). The amplitude a
    falls to 0 toward the rim, as in the water filter of JH Labs' Java image filters.
    """
    size = len(draws.values)
    x = sums(_columns(style, (size, style.width)), jnp.zeros((size, style.height)))
    y = sums(jnp.zeros((size, style.width)), _rows(style, (size, style.height)))
    dx = x - draws.scalar("water_at_x") * style.width
    dy = y - draws.scalar("water_at_y") * style.height
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-6)
    amplitude, length, phase, radius = (
        draws.scalar(name) for name in ("water", "water_length", "water_phase", "water_radius")
    )
    shift = amplitude * jnp.maximum(1 - distance / radius, 0) / distance
    shift = shift * sine(distance / length + phase)
    return _places(x + dx * shift, y + dy * shift, style)


def _columns(style: Style, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(style.width, dtype=jnp.float32), shape)


def _rows(style: Style, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(style.height, dtype=jnp.float32), shape)


def _places(x: jax.Array, y: jax.Array, style: Style) -> Places:
    """Splits points [B, W, H], clipped to the edges, into flat places and remainders u, v."""
    x, y = jnp.clip(x, 0, style.width - 1), jnp.clip(y, 0, style.height - 1)
    i, j = x.astype(jnp.int32), y.astype(jnp.int32)
    start = jnp.arange(len(x), dtype=jnp.int32)[:, None, None] * style.width
    return (start + i) * style.height + j, x - i, y - j
