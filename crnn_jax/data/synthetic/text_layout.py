"""The text of a generated image: the places of its glyphs, and their ink."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax.charset import PAD
from crnn_jax.data.synthetic import glyphs
from crnn_jax.data.synthetic.glyphs import CELL, Atlas
from crnn_jax.data.synthetic.interpolation import at, interpolate, outer
from crnn_jax.data.synthetic.random_params import NamedDraws
from crnn_jax.data.synthetic.style import Style

MARGIN = 4.0  # pixels at the right edge that stay free of text


class Text(NamedTuple):
    """The places of an image's L glyphs. Glyphs beyond the text's length are at the far right."""

    ids: jax.Array  # i32 [L], into the style's alphabet; PAD beyond the text
    face: jax.Array  # i32
    scale: jax.Array  # pixels of the image per pixel of the atlas
    center: jax.Array  # f32 [L], the middle of a glyph's ink
    baseline: jax.Array  # f32 [L]
    stretch: jax.Array  # f32 [L]
    turn: jax.Array  # f32 [L], radians
    shear: jax.Array  # f32 [L]


def place(draws: NamedDraws, atlas: Atlas, style: Style) -> Text:
    """Draws a text and lays it out from left to right."""
    longest = style.length[1]
    (count,) = draws.whole("length", style.length)
    inside = jnp.arange(longest) < count
    ids = draws.whole("text", (0, len(style.alphabet) - 1), longest)
    (face,) = draws.whole("face", (0, len(style.faces) - 1))
    stretch = draws.even("stretch", longest)
    bearing, ink, advance = (
        metric[face, ids] * stretch for metric in (atlas.ink_left, atlas.ink_width, atlas.advance)
    )
    pace = jnp.where(inside, ink if style.spacing_by == "ink" else advance, 0)
    (left,), (spacing,) = draws.even("left"), draws.even("spacing")
    room = style.width - left - spacing * (count - 1) - MARGIN
    (size,) = draws.even("size")
    scale = jnp.minimum(size / glyphs.EM, jnp.maximum(room, style.width / 4) / pace.sum())
    origin = left + (jnp.cumsum(pace) - pace) * scale + spacing * jnp.arange(longest)
    # With a negative spacing, glyphs can overlap, but they must keep their order: the middle of
    # each is at least a pixel to the right of the previous one's.
    places = jnp.arange(longest)
    middles = origin + (bearing + ink / 2) * scale - places
    least = jax.lax.cummax(middles)
    is_behind = (spacing < 0) & (least > middles + 1e-3)
    moved = jnp.where(is_behind, least - middles, 0)
    return Text(
        ids=jnp.where(inside, ids, PAD),
        face=face,
        scale=scale,
        center=jnp.where(inside, origin + (bearing + ink / 2) * scale + moved, 10.0 * style.width),
        baseline=draws.even("baseline") + draws.even("jitter", longest),
        stretch=stretch,
        turn=draws.even("turn", longest) * (jnp.pi / 180),
        shear=draws.even("shear", longest),
    )


def by_column(text: Text, atlas: Atlas, style: Style) -> jax.Array:
    """Selects from `_maps` the two maps that apply to each column, f32 [2, W, 7].

    A column belongs to at most two glyphs: the last whose middle is left of it and the first whose
    middle is right of it. Glyphs that reach farther are cut off.
    """
    maps = _maps(text, atlas, style)
    x = jnp.arange(style.width) + 0.5
    right = jnp.sum(text.center[None, :] <= x[:, None], axis=1)  # [W]
    pair = jnp.stack((right - 1, right))  # [2, W]
    inside = (pair >= 0) & (pair < len(maps))
    return jnp.where(inside[..., None], maps[jnp.clip(pair, 0, len(maps) - 1)], 0)


def _maps(text: Text, atlas: Atlas, style: Style) -> jax.Array:
    """Returns the maps from the image (x, y) to each glyph's cell (u, v), in pixels: f32 [L, 7].

    u = u0 + ux x + uy y and v = v0 + vx x + vy y. The last number is the row of `atlas.fields`
    where the cell begins. A glyph is turned and sheared around the middle of its ink, at half the
    x-height above the baseline. A map of zeros leads to the corner of a cell, which has no ink.
    """
    symbol, inside = jnp.maximum(text.ids, 0), text.ids != PAD
    cos, sin = jnp.cos(text.turn), jnp.sin(text.turn)
    across, down = text.scale * text.stretch, text.scale
    middle = atlas.middle[text.face]
    x, y = text.center, text.baseline - middle * text.scale
    ux, uy = (cos - text.shear * sin) / across, (sin + text.shear * cos) / across
    vx, vy = -sin / down, cos / down
    bearing = atlas.ink_left[text.face, symbol] + atlas.ink_width[text.face, symbol] / 2
    # The centers of a cell's pixels have integer coordinates.
    u0 = glyphs.LEFT - 0.5 + bearing - ux * x - uy * y
    v0 = glyphs.BASELINE - 0.5 - middle - vx * x - vy * y
    start = (text.face * len(style.alphabet) + symbol) * CELL
    columns = (u0, ux, uy, v0, vx, vy, start)
    maps = jnp.stack([c.astype(jnp.float32) for c in columns], axis=-1)
    return jnp.where(inside[:, None], maps, 0)


@functools.partial(jax.jit, static_argnames="style")
def places(columns: jax.Array, *, style: Style) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Maps each pixel into the two glyphs of its column, by the maps [B, 2, W, 7] of `by_column`.

    Returns:
      Places in the atlas, and the remainders along u and v, [B, 2, W, H] each.
    """
    x, y = (jnp.arange(style.width) + 0.5)[None, None, :], jnp.arange(style.height) + 0.5
    u0, ux, uy, v0, vx, vy, start = jnp.moveaxis(columns, -1, 0)  # [B, 2, W]
    u = jnp.clip(outer(u0 + ux * x, uy, y), 0, CELL - 1.001)
    v = jnp.clip(outer(v0 + vx * x, vy, y), 0, CELL - 1.001)
    start = outer(start, jnp.zeros_like(uy), y).astype(jnp.int32)
    i, j = u.astype(jnp.int32), v.astype(jnp.int32)
    return (start + i) * CELL + j, u - i, v - j


@jax.jit
def ink(
    atlas: Atlas,
    places: jax.Array,
    u: jax.Array,
    v: jax.Array,
    scale: jax.Array,
    weight: jax.Array,
    softness: jax.Array,
) -> jax.Array:
    """Returns the ink of the glyphs, u8 [B, W, H].

    Args:
      atlas: the glyphs.
      places, u, v: the results of `places`.
      scale, weight, softness: of each image, f32 [B, 1, 1].
    """
    fields = jnp.asarray(atlas.fields).ravel()
    cover = jnp.zeros(u[:, 0].shape)
    for k in (0, 1):
        inside = interpolate(at(fields, places[:, k]), u[:, k], v[:, k]) - glyphs.ZERO
        inside = inside * (scale / glyphs.UNITS)
        cover = jnp.maximum(cover, jnp.clip(0.5 + (inside + weight) / softness, 0, 1))
    return jnp.rint(255 * cover).astype(jnp.uint8)
