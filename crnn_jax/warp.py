"""Warps of generated pictures: where each pixel comes from."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from crnn_jax.draws import Draws
from crnn_jax.lookup import sums
from crnn_jax.style import Style


def wave(draws: Draws, name: str, count: int) -> jax.Array:
    """a sin(2 pi (i / length + phase)) of i from 0: f32 [count]."""
    amplitude, length, phase = (draws.even(name + suffix) for suffix in ("", "_length", "_phase"))
    return amplitude * jnp.sin(2 * jnp.pi * (jnp.arange(count) / length + phase))


@functools.partial(jax.jit, static_argnames="style")
def places(
    draws: Draws, wave_x: jax.Array, wave_y: jax.Array, *, style: Style
) -> tuple[jax.Array, ...]:
    """Where each pixel of the picture comes from on the canvas.

    Waves move a row along the width and a column along the height. Water moves a pixel along the
    radius from a point, by a sin(distance / length) that dies away towards the rim. So do the
    filters of those names in JH Labs' Java image filters, each for one set of strengths.

    Args:
      draws: of B pictures.
      wave_x, wave_y: how far each row [B, H] and each column [B, W] is moved.

    Returns:
      The column, and for `lookup.sample` place, u and v: [B, W, H] each.
    """
    x = sums(jnp.broadcast_to(jnp.arange(style.width, dtype=jnp.float32), wave_y.shape), wave_x)
    y = sums(wave_y, jnp.broadcast_to(jnp.arange(style.height, dtype=jnp.float32), wave_x.shape))
    if style.water != (0, 0):
        dx = x - draws.scalar("water_at_x") * style.width
        dy = y - draws.scalar("water_at_y") * style.height
        distance = jnp.sqrt(dx * dx + dy * dy + 1e-6)
        amplitude, length, phase, radius = (
            draws.scalar(name) for name in ("water", "water_length", "water_phase", "water_radius")
        )
        shift = amplitude * jnp.maximum(1 - distance / radius, 0) / distance
        shift = shift * _sine(distance / length + phase)
        x, y = x + dx * shift, y + dy * shift
    x, y = jnp.clip(x, 0, style.width - 1), jnp.clip(y, 0, style.height - 1)
    i, j = x.astype(jnp.int32), y.astype(jnp.int32)
    start = jnp.arange(len(x), dtype=jnp.int32)[:, None, None] * style.width
    return x, (start + i) * style.height + j, x - i, y - j


def _sine(turns: jax.Array) -> jax.Array:
    """sin(2 pi turns) to 1e-3, by a parabola and its square: a quarter of the cost of sin."""
    part = turns - jnp.round(turns)  # from -1/2 to 1/2
    parabola = part * (8 - 16 * jnp.abs(part))
    return parabola * (0.775 + 0.225 * jnp.abs(parabola))
