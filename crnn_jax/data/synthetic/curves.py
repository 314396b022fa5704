"""Curves across a generated image, drawn as chords."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from crnn_jax.data.synthetic.random_params import NamedDraws
from crnn_jax.data.synthetic.style import Style


def chords(draws: NamedDraws, style: Style) -> jax.Array:
    """Returns the chords of the curves, f32 [S, 6].

    The six numbers are x and y of the start, the steps to the end, the inverse of the squared
    length, and half of the width.

    As in Java's path iterator, a curve is halved until its control points lie within
    `curve_flatness` of the chord. The n-th chord has the n-th width.
    """
    (count,), most = draws.whole("curves", style.curves), style.curves[1]
    if not most:
        return jnp.zeros((0, 6))
    x = jnp.asarray([style.curve_x[k % len(style.curve_x)] for k in range(most)]) * style.width
    y = style.height * draws.even("curve_y", 4 * most).reshape(most, 4)
    ends, breaks = jax.vmap(lambda p: _chords(p, style.curve_flatness))(jnp.stack((x, y), -1))
    order = jnp.cumsum(breaks, axis=1) - 1  # [curves, leaves], the chord that a leaf is part of
    widths = jnp.asarray(style.curve_width)[jnp.clip(order, 0, len(style.curve_width) - 1)]
    # Curves beyond `count` are moved far away.
    ends = jnp.where((jnp.arange(most) < count)[:, None, None], ends, -1000.0)
    starts, steps = ends[:, :-1], ends[:, 1:] - ends[:, :-1]  # [curves, leaves, 2]
    inverse = 1 / (jnp.sum(steps**2, axis=-1) + 1e-6)
    leaves = (starts[..., 0], starts[..., 1], steps[..., 0], steps[..., 1], inverse, widths / 2)
    return jnp.stack([leaf.ravel() for leaf in leaves], axis=-1)


@functools.partial(jax.jit, static_argnames="style")
def cover(chords: jax.Array, *, style: Style) -> jax.Array:
    """Returns the ink of chords [B, S, 6], f32 [B, W, H] from 0 to 1."""
    px = (jnp.arange(style.width) + 0.5)[None, :, None]
    py = (jnp.arange(style.height) + 0.5)[None, None, :]
    result = jnp.zeros((len(chords), style.width, style.height))
    for ax, ay, dx, dy, inverse, half in jnp.transpose(chords, (1, 2, 0))[..., None, None]:
        ex, ey = px - ax, py - ay
        part = jnp.clip((ex * dx + ey * dy) * inverse, 0, 1)
        ex, ey = ex - part * dx, ey - part * dy
        # half - distance, to first order at the edge, without a square root.
        ink = 0.5 + (half * half - (ex * ex + ey * ey)) / (2 * half)
        result = jnp.maximum(result, jnp.minimum(ink, 1))
    return result


def _chords(points: jax.Array, flatness: float) -> tuple[jax.Array, jax.Array]:
    """Splits a cubic Bezier curve [4, 2] into quarters.

    Where a part is flat enough, the points inside it are moved onto its chord.

    Returns:
      The ends of the quarters, [5, 2], and whether each quarter begins a chord, bool [4].
    """
    (first, second), whole = _halves(points), _is_flat(points, flatness)
    flat = [whole | _is_flat(half, flatness) for half in (first, second)]
    start, middle, end = points[0], first[3], points[3]
    middle = jnp.where(whole, (start + end) / 2, middle)
    quarters = [
        jnp.where(is_flat, (a + b) / 2, _halves(half)[0][3])
        for half, is_flat, a, b in ((first, flat[0], start, middle), (second, flat[1], middle, end))
    ]
    ends = jnp.stack((start, quarters[0], middle, quarters[1], end))
    return ends, jnp.stack((jnp.array(True), ~flat[0], ~whole, ~flat[1]))


def _halves(p: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the control points [4, 2] of both halves of a cubic Bezier curve (de Casteljau)."""
    a, b, c = (p[:-1] + p[1:]) / 2
    d, e = (a + b) / 2, (b + c) / 2
    middle = (d + e) / 2
    return jnp.stack((p[0], a, d, middle)), jnp.stack((middle, e, c, p[3]))


def _is_flat(p: jax.Array, flatness: float) -> jax.Array:
    """Whether both inner control points lie within `flatness` of the chord, a segment."""
    chord = p[3] - p[0]
    part = jnp.clip((p[1:3] - p[:1]) @ chord / (chord @ chord + 1e-6), 0, 1)  # [2]
    away = p[1:3] - p[:1] - part[:, None] * chord[None, :]
    return jnp.all(jnp.sum(away**2, axis=1) <= flatness**2)
