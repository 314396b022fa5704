"""Clutter behind and in front of the text of a wide image: words, glyphs, lines, shapes, grids.

Each layer is a pure function of the coordinates of pixels, x and y [W, H].
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax.data.synthetic.hashing import lowbias32
from crnn_jax.data.synthetic.sine import sine
from crnn_jax.data.synthetic.wide import face_atlas
from crnn_jax.data.synthetic.wide.colors import Colors, clutter_color, luma_of, tinted
from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.data.synthetic.wide.face_atlas import CAPITAL, CELL, SYMBOLS
from crnn_jax.data.synthetic.wide.text import Atlas

LINES = 6
SHAPES = 3


def hashed(*numbers: jax.Array) -> jax.Array:
    """Hashes integers to u32."""
    h: jax.Array = jnp.uint32(0x9E3779B9)
    for number in numbers:
        h = lowbias32(h ^ number.astype(jnp.uint32))
    return h


def share(hash_: jax.Array, shift: int) -> jax.Array:
    """Returns f32 in [0, 1) from 8 bits of the hash."""
    return ((hash_ >> shift) & 255).astype(jnp.float32) / 256


def sample_field(fields: jax.Array, start: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Interpolates the signed distance, in pixels of the atlas; -8 outside the cell."""
    inside = (u >= 0) & (u <= CELL - 1) & (v >= 0) & (v <= CELL - 1)
    u, v = jnp.clip(u, 0, CELL - 1.001), jnp.clip(v, 0, CELL - 1.001)
    i, j = u.astype(jnp.int32), v.astype(jnp.int32)
    p = start + i * CELL + j
    a, b, c, d = (
        fields.at[p + step].get(mode="promise_in_bounds").astype(jnp.float32)
        for step in (0, CELL, 1, CELL + 1)
    )
    u, v = u - i, v - j
    top, bottom = a + u * (b - a), c + u * (d - c)
    return jnp.where(inside, (top + v * (bottom - top) - face_atlas.ZERO) / face_atlas.UNITS, -8.0)


class Cells(NamedTuple):
    """The place of each pixel in the cell of a glyph, and how the glyph is drawn there."""

    start: jax.Array  # i32 [W, H], where the cell begins in `Atlas.fields`
    u: jax.Array  # f32 [W, H], pixels of the atlas
    v: jax.Array
    scale: jax.Array  # f32, pixels of the atlas per pixel of the image
    alpha: jax.Array  # f32 [W, H], 0 where there is no glyph
    color: jax.Array  # f32 [W, H, 3]

    def cover(self, distance: jax.Array) -> jax.Array:
        """Returns the cover [W, H], from the values of `sample_field` at `start`, `u` and `v`."""
        return jnp.clip(0.5 + distance / self.scale, 0, 1) * self.alpha


def words(
    draws: Draws, atlas: Atlas, x: jax.Array, y: jax.Array, height: int, paper: jax.Array
) -> Cells:
    """Draws rows of small words everywhere."""
    seed = draws.whole(2**20)
    turn = draws.pick((70, 15, 15))
    angle = jnp.stack((jnp.zeros(()), jnp.float32(jnp.pi / 2), draws.around(0.5)))[turn]
    x, y = _turned(x, y, angle)
    row_height = draws.between(0.11, 0.34) * height
    pace = row_height * draws.between(0.5, 0.9)
    row = jnp.floor(y / row_height)
    in_row = hashed(row.astype(jnp.int32), seed)
    along = x / pace + 64 * share(in_row, 0)
    column = jnp.floor(along)
    word = hashed((column / (4 + jnp.floor(5 * share(in_row, 8)))).astype(jnp.int32), in_row)
    here = hashed(column.astype(jnp.int32), in_row)
    symbol = 10 + (here % 52).astype(jnp.int32)
    symbol = jnp.where(draws.chance(0.5), 10 + (symbol - 10) % 26, symbol)  # capitals
    of_face = jnp.where(draws.chance(0.5), in_row, seed.astype(jnp.uint32))
    face = (of_face % atlas.left.shape[0]).astype(jnp.int32)
    scale = CAPITAL / (0.62 * row_height)
    hue = jnp.stack([share(word, shift) for shift in (0, 8, 16)], axis=-1)
    luma = luma_of(paper)
    nearer = luma + (share(word, 24) - luma) * draws.between(0.3, 0.9)
    saturation = jnp.where(draws.chance(0.6), draws.unit(), 0.0)
    return Cells(
        start=(face * len(SYMBOLS) + symbol) * CELL**2,
        u=face_atlas.LEFT + CAPITAL * 0.4 + (along - column - 0.5) * pace * scale,
        v=face_atlas.BASELINE - CAPITAL / 2 + (y - (row + 0.5) * row_height) * scale,
        scale=scale,
        alpha=(share(here, 8) > 0.12) * draws.between(0.4, 1) * draws.chance(0.1),
        color=tinted(hue, nearer[..., None], saturation),
    )


def stray_glyphs(
    draws: Draws, atlas: Atlas, x: jax.Array, y: jax.Array, height: int, paper: jax.Array
) -> Cells:
    """Draws small single glyphs, at most one in each square of a grid."""
    seed = draws.whole(2**20)
    cell = draws.between(0.25, 0.6) * height
    i, j = jnp.floor(x / cell), jnp.floor(y / cell)
    here = hashed(i.astype(jnp.int32), j.astype(jnp.int32), seed)
    other = hashed(here, seed)
    scale = CAPITAL / (cell * draws.between(0.25, 0.42))
    dx = x - (i + 0.5) * cell - (share(other, 0) - 0.5) * 0.4 * cell
    dy = y - (j + 0.5) * cell - (share(other, 8) - 0.5) * 0.4 * cell
    dx, dy = _turned(dx, dy, 6.28 * share(other, 16) * draws.chance(0.6))
    symbol = (here % 62).astype(jnp.int32)
    face = ((here >> 8) % atlas.left.shape[0]).astype(jnp.int32)
    hue = jnp.stack([share(other, shift) for shift in (0, 8, 16)], axis=-1)
    luma = luma_of(paper)
    nearer = luma + (share(here, 24) - luma) * draws.between(0.2, 0.6)
    is_there = share(other, 24) < draws.between(0.2, 0.9)
    return Cells(
        start=(face * len(SYMBOLS) + symbol) * CELL**2,
        u=face_atlas.LEFT + CAPITAL * 0.4 + dx * scale,
        v=face_atlas.BASELINE - CAPITAL / 2 + dy * scale,
        scale=scale,
        alpha=is_there * draws.between(0.4, 1) * draws.chance(0.07),
        color=tinted(hue, nearer[..., None], jnp.ones(())),
    )


class Strokes(NamedTuple):
    """Lines or shapes, in drawing order."""

    cover: jax.Array  # f32 [N, W, H]
    color: jax.Array  # f32 [N, 3]
    is_front: jax.Array  # bool [N], drawn over the text


def lines(draws: Draws, colors: Colors, x: jax.Array, y: jax.Array, height: int) -> Strokes:
    """Draws straight lines, arcs and waves."""
    width = x.shape[0]
    many = draws.pick((0, 30, 28, 18, 12, 6, 6))
    count = jnp.where(draws.chance(0.62), many, 0)
    color = clutter_color(draws, colors, LINES)
    alike = draws.chance(0.5)
    color = jnp.where(alike, color[:1], color)
    front = jnp.where(alike, draws.chance(0.7), draws.chance(0.6, LINES))
    thick = jnp.where(alike, draws.unit(), draws.unit(LINES)) ** 2
    # If there are many lines they are thin, so that the text stays legible.
    thick = (0.7 + 3.0 * thick / jnp.maximum(count / 2, 1)) * height / 64
    steep = draws.chance(0.2, LINES)
    angle = jnp.where(steep, draws.around(1.5, LINES), draws.around(0.35, LINES))
    x0, y0 = draws.between(0, width, LINES), draws.between(0.1, 0.9, LINES) * height
    long = draws.chance(0.6, LINES)
    reach = jnp.where(long, 2.0 * width, draws.between(0.1, 0.5, LINES) * width)
    bend = jnp.where(draws.chance(0.3, LINES), draws.around(1.2 / width, LINES), 0)
    swing = jnp.where(draws.chance(0.35, LINES), draws.between(0.03, 0.22, LINES) * height, 0)
    period, phase = draws.between(0.15, 0.9, LINES) * width, draws.unit(LINES)
    # [N, W, H] from here on.
    x0, y0, angle, reach, bend, swing, period, phase, thick = (
        jnp.broadcast_to(a, (LINES,))[:, None, None]
        for a in (x0, y0, angle, reach, bend, swing, period, phase, thick)
    )
    s, t = _turned(x[None] - x0, y[None] - y0, angle)
    wave = 2 * jnp.pi / period
    turns = s / period + phase
    curve = bend * s * s + swing * sine(turns)
    slope = 2 * bend * s + swing * wave * sine(turns + 0.25)
    away = jnp.abs(t - curve) * jax.lax.rsqrt(1 + slope * slope)
    cover = jnp.clip(0.5 + thick / 2 - away, 0, 1) * (jnp.abs(s) < reach)
    is_on = jnp.arange(LINES) < count
    return Strokes(cover * is_on[:, None, None], color, jnp.broadcast_to(front, (LINES,)))


def shapes(draws: Draws, colors: Colors, x: jax.Array, y: jax.Array, height: int) -> Strokes:
    """Draws ellipses and boxes behind the text, filled or as outlines."""
    width = x.shape[0]
    count = jnp.where(draws.chance(0.12), 1 + draws.whole(SHAPES), 0)
    any_color = clutter_color(draws, colors, SHAPES)
    alpha = draws.between(0.1, 0.5, SHAPES)[:, None]
    pale = colors.paper[None] + alpha * (any_color - colors.paper[None])
    is_outline = draws.chance(0.5, SHAPES)
    color = jnp.where(is_outline[:, None], any_color, pale)
    x0, y0 = draws.unit(SHAPES) * width, draws.unit(SHAPES) * height
    rx, ry = draws.between(0.04, 0.4, SHAPES) * width, draws.between(0.1, 0.7, SHAPES) * height
    is_box = draws.chance(0.4, SHAPES)
    thick = draws.between(0.6, 2.0, SHAPES) * height / 64
    is_on = jnp.arange(SHAPES) < count
    x0, y0, rx, ry, box, thick, outlined, on = (
        a[:, None, None] for a in (x0, y0, rx, ry, is_box, thick, is_outline, is_on)
    )
    dx, dy = jnp.abs(x[None] - x0) / rx, jnp.abs(y[None] - y0) / ry
    radius = jnp.where(box, jnp.maximum(dx, dy), jnp.sqrt(dx * dx + dy * dy + 1e-6))
    inside = (1 - radius) * jnp.minimum(rx, ry)  # pixels, roughly
    outline = jnp.clip(0.5 + thick / 2 - jnp.abs(inside), 0, 1)
    cover = jnp.where(outlined, outline, jnp.clip(0.5 + inside, 0, 1)) * on
    return Strokes(cover, color, jnp.zeros(SHAPES, bool))


def grid(draws: Draws, x: jax.Array, y: jax.Array, height: int) -> jax.Array:
    """Draws equidistant lines in one or both directions: cover [W, H]."""
    x, y = _turned(x, y, jnp.where(draws.chance(0.3), draws.around(0.8), 0.0))
    step = jnp.where(draws.chance(0.5), draws.between(0.06, 0.2), draws.between(0.12, 0.5)) * height
    step_x = step * draws.between(0.7, 1.5)
    thick = draws.between(0.4, 1.4) * height / 64
    off = draws.unit(2)

    def comb(t: jax.Array, step: jax.Array, off: jax.Array) -> jax.Array:
        away = jnp.abs((t / step + off) % 1 - 0.5) * step
        return jnp.clip(0.5 + thick / 2 - away, 0, 1)

    kind = draws.pick((50, 25, 25))
    across, down = comb(y, step, off[0]), comb(x, step_x, off[1])
    cover = jnp.where(kind == 1, across, jnp.where(kind == 2, down, jnp.maximum(across, down)))
    return cover * draws.between(0.3, 1) * draws.chance(0.08)


def _turned(x: jax.Array, y: jax.Array, angle: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return x * cos + y * sin, y * cos - x * sin
