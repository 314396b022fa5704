"""The text of a wide image: its characters, and the place of each glyph.

Lengths are in capital heights ("caps") around the middle of the text, before the text is warped
and scaled to the image.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.charset import PAD
from crnn_jax.data.synthetic.wide import face_atlas
from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.data.synthetic.wide.face_atlas import CAPITAL, SYMBOLS

LONGEST = 10
_LENGTHS = (0, 0, 0, 5, 24, 22, 20, 8, 8, 6, 7)  # odds of 0, 1, ... symbols
_DIGITS, _UPPER, _LOWER = SYMBOLS[:10], SYMBOLS[10:36], SYMBOLS[36:62]
# The symbols that texts are drawn from, and how often.
_KINDS = (
    (_DIGITS, 22),
    (_LOWER, 14),
    (_UPPER, 14),
    (_LOWER + _DIGITS, 17),
    (_UPPER + _DIGITS, 14),
    (_UPPER + _LOWER, 4),
    (_DIGITS + _UPPER + _LOWER, 9),
    (SYMBOLS, 2),
)
_SUM_SHARE = 0.05  # share of the images that show a sum, such as 3+5=?


class Atlas(NamedTuple):
    """A `FaceAtlas` on the device."""

    fields: jax.Array  # u8 [F * G * CELL * CELL]
    left: jax.Array  # f32 [F, G]
    width: jax.Array
    advance: jax.Array


class Text(NamedTuple):
    """One text of L glyphs. Glyphs beyond its length are far to the right."""

    ids: jax.Array  # i32 [L], indices into SYMBOLS; PAD beyond the text
    start: jax.Array  # i32 [L], where a glyph's cell begins in `Atlas.fields`
    x: jax.Array  # f32 [L], middle of the ink, in caps from the middle of the text
    y: jax.Array  # f32 [L], middle of a capital, in caps; down is positive
    matrix: jax.Array  # f32 [L, 4], caps around (x, y) to pixels of the atlas: uu, uv, vu, vv
    u0: jax.Array  # f32 [L], the middle of the ink in the cell
    width: jax.Array  # f32, of the whole text, caps


def on_device(atlas: face_atlas.FaceAtlas) -> Atlas:
    """Copies an atlas to the device."""
    metrics = (atlas.left, atlas.width, atlas.advance)
    return Atlas(jax.device_put(atlas.fields.reshape(-1)), *map(jax.device_put, metrics))


def draw_text(draws: Draws, atlas: Atlas, room: jax.Array) -> Text:
    """Draws a text and its layout. Glyphs may be moved up or down by `room` caps."""
    ids = _draw_ids(draws)
    inside = ids != PAD
    symbol = jnp.maximum(ids, 0)
    num_faces = atlas.left.shape[0]
    faces = draws.whole(num_faces, LONGEST)
    faces = jnp.where(draws.chance(0.25), faces, faces[0])
    start = (faces * len(SYMBOLS) + symbol) * face_atlas.CELL**2
    left, width, advance = (metric[faces, symbol] / CAPITAL for metric in atlas[1:])

    size = jnp.where(draws.chance(0.25), 1 + draws.around(0.25, LONGEST), 1.0)
    stretch = jnp.where(draws.chance(0.2), 1 + draws.around(0.2, LONGEST), 1.0)
    turn = (
        draws.around(1, LONGEST)
        * jnp.stack((jnp.zeros(()), draws.between(0, 0.2), draws.between(0, 0.6)))[
            draws.pick((35, 30, 35))
        ]
    )
    slant = jnp.where(draws.chance(0.25), draws.between(-0.3, 0.5), 0.0)
    slant = slant + jnp.where(draws.chance(0.1), draws.around(0.3, LONGEST), 0.0)
    jump = jnp.stack(
        (jnp.zeros(()), draws.between(0, 0.25), draws.between(0, 1) * jnp.minimum(room, 1.2))
    )[draws.pick((40, 40, 20))]
    y = jump * draws.around(1, LONGEST)

    # Spacing: glyphs that touch or overlap, the font's spacing, or wide spacing.
    gap = jnp.stack((draws.between(-0.16, 0.02), draws.between(0, 0.15), draws.between(0.15, 0.9)))
    kind = draws.pick((22, 50, 28))
    by_ink = (kind == 0) | draws.chance(0.2)
    pace = jnp.where(by_ink, width + 0.06, advance) * size * stretch
    pace = jnp.where(inside, pace + gap[kind], 0)
    pace = jnp.where(inside, jnp.maximum(pace, 0.25), 0)
    begin = jnp.cumsum(pace) - pace
    total = jnp.sum(pace)
    offset = jnp.where(by_ink, 0.0, left * size * stretch)
    x = begin + offset + width * size * stretch / 2 - total / 2

    cos, sin = jnp.cos(turn), jnp.sin(turn)
    # From the image to the cell: undo the turn, the slant and the scale.
    across, down = CAPITAL / (size * stretch), CAPITAL / size
    matrix = jnp.stack(
        (
            across * (cos - slant * sin),
            across * (sin + slant * cos),
            -down * sin,
            down * cos,
        ),
        axis=-1,
    )
    return Text(
        ids=ids,
        start=start,
        x=jnp.where(inside, x, 1000.0),
        y=y,
        matrix=matrix,
        u0=(left + width / 2) * CAPITAL + face_atlas.LEFT - 0.5,
        width=total,
    )


def _draw_ids(draws: Draws) -> jax.Array:
    length = draws.pick(_LENGTHS)
    kind = draws.pick([odds for _, odds in _KINDS])
    most = max(len(symbols) for symbols, _ in _KINDS)
    table = np.zeros((len(_KINDS), most), np.int32)
    for k, (symbols, _) in enumerate(_KINDS):
        table[k, : len(symbols)] = [SYMBOLS.index(s) for s in symbols]
    sizes = jnp.array([len(symbols) for symbols, _ in _KINDS])
    ids = jnp.asarray(table)[kind, draws.whole(sizes[kind], LONGEST)]
    ids = jnp.where(jnp.arange(LONGEST) < length, ids, PAD)
    return jnp.where(draws.chance(_SUM_SHARE), _draw_sum(draws), ids)


def _draw_sum(draws: Draws) -> jax.Array:
    """Draws one or two digits, an operator, one or two digits, perhaps = and perhaps ?."""
    digits = draws.whole(10, 4)
    operator = SYMBOLS.index("+") + draws.whole(4)
    equals, question = SYMBOLS.index("="), SYMBOLS.index("?")
    shown = jnp.stack(
        (
            jnp.array(True), draws.chance(0.4), jnp.array(True), jnp.array(True),
            draws.chance(0.4), draws.chance(0.7), draws.chance(0.35),
        )
    )  # fmt: skip
    parts = (digits[0], digits[1], operator, digits[2], digits[3], equals, question)
    ids = jnp.stack([jnp.asarray(part, jnp.int32) for part in parts])
    # Move the symbols that are shown to the front, in their order.
    place = jnp.where(shown, jnp.cumsum(shown) - 1, LONGEST)
    return jnp.full(LONGEST + 1, PAD, jnp.int32).at[place].set(ids)[:LONGEST]
