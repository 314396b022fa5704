"""Generated captchas: a pure function of (style, seed, number), on the device.

Picture i of a seed is the same on its own and in any batch: its key is the seed's folded with i,
and no operation looks at another picture. `pictures` makes a batch in five jitted stages: where
the glyphs stand, their ink on a canvas, where a warp takes each pixel from, what it finds there,
and paper, curves and grain around it.

They are programs of their own because XLA on a CPU fuses what a lookup reads into the lookup,
and computes it again for each pixel that is looked up: in one program a picture takes ten times
as long.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import glyphs
from crnn_jax.charset import PAD
from crnn_jax.glyphs import CELL, Atlas
from crnn_jax.style import Range, Style

VERSION = 1  # to be raised with every change that changes a picture: part of every fingerprint
MARGIN = 4.0  # pixels at the right edge that text keeps clear of
_LEAVES = 4  # chords of a curve at the most: it is cut in two twice


class Text(NamedTuple):
    """Where the glyphs of a picture stand: L each, those beyond its length at the far right."""

    ids: jax.Array  # i32 [L], into the style's alphabet; PAD beyond the text
    face: jax.Array  # i32
    scale: jax.Array  # pixels of the picture to one of the atlas
    centre: jax.Array  # f32 [L], the middle of a glyph's ink
    baseline: jax.Array  # f32 [L]
    stretch: jax.Array  # f32 [L]
    turn: jax.Array  # f32 [L], radians
    shear: jax.Array  # f32 [L]


def atlas_of(style: Style) -> Atlas:
    """The glyphs of a style, as `pictures` takes them."""
    return glyphs.atlas(style.alphabet, style.faces)


def pictures(
    atlas: Atlas, seed: int | jax.Array, numbers: jax.Array, *, style: Style
) -> tuple[jax.Array, jax.Array]:
    """The pictures of `numbers` i32 [B]: u8 [B, W, H, C], and labels i32 [B, L] padded with PAD.

    C is 3 for a style in colour, else 1; L is its greatest length; labels are places in its
    alphabet. `atlas` is `atlas_of(style)`, best put on the device once.
    """
    plan = _plan(atlas, seed, numbers, style=style)
    glyphs_at = _glyph_places(plan, style=style)
    canvas = _canvas(atlas, plan, *glyphs_at, style=style)
    x, *places = _warp_places(plan, style=style)
    cover, lines = _cover(_packed(canvas), *places), _lines(plan, style=style)
    return _finished(plan, cover, lines, x, style=style), plan.text.ids


# --------------------------------------------------------------------------------- draws

# One row of numbers each, so that what one feature draws does not depend on which others are on.
_NAMES = (
    "length", "text", "face", "size", "weight", "softness", "left", "baseline", "spacing",
    "stretch", "jitter", "turn", "shear", "wave_x", "wave_x_length", "wave_x_phase", "wave_y",
    "wave_y_length", "wave_y_phase", "water", "water_length", "water_phase", "water_radius",
    "water_at_x", "water_at_y", "curves", "curve_y", "ink", "curve_ink", "paper", "paper_end",
    "dots", "blur", "noise", "dot_grain", "grain",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Draws:
    """The random numbers of one picture, by name."""

    values: jax.Array  # f32 [names, n], from 0 to 1

    def even(self, name: str, limits: Range, count: int = 1) -> jax.Array:
        """[count] numbers, evenly from a range."""
        low, high = limits
        return low + (high - low) * self.values[_NAMES.index(name), :count]

    def whole(self, name: str, limits: tuple[int, int], count: int = 1) -> jax.Array:
        """[count] whole numbers from limits[0] to limits[1], both included."""
        low, high = limits
        numbers = jnp.floor(self.even(name, (low, high + 1), count)).astype(jnp.int32)
        return jnp.minimum(numbers, high)  # rounding can reach the end


jax.tree_util.register_dataclass(Draws, ("values",), ())


def draws(key: jax.Array, style: Style) -> Draws:
    most = max(3 * style.length[1], 4 * style.curves[1])
    return Draws(jax.random.uniform(key, (len(_NAMES), most)))


class Plan(NamedTuple):
    """What is settled before a pixel is touched, of B pictures."""

    draws: Draws
    text: Text
    columns: jax.Array  # f32 [B, 2, W, 7], `_maps` of the two glyphs that share each column
    wave_x: jax.Array  # f32 [B, H], how far each row is moved along the width
    wave_y: jax.Array  # f32 [B, W]
    chords: jax.Array  # f32 [B, S, 6]


@functools.partial(jax.jit, static_argnames="style")
def _plan(atlas: Atlas, seed: jax.Array, numbers: jax.Array, *, style: Style) -> Plan:
    atlas = Atlas(*(jnp.asarray(part) for part in atlas))
    root = jax.random.key(seed)

    def one(number: jax.Array) -> Plan:
        drawn = draws(jax.random.fold_in(root, number), style)
        text = place(drawn, atlas, style)
        columns = _by_column(text, _maps(text, atlas, style), style)
        waves = (
            wave(drawn, "wave_x", style.height, style),
            wave(drawn, "wave_y", style.width, style),
        )
        return Plan(drawn, text, columns, *waves, chords(drawn, style))

    return jax.vmap(one)(numbers)


def _scalar(plan: Plan, name: str, style: Style) -> jax.Array:
    """A picture's draw from the range that the style has under this name: [B, 1, 1]."""
    limits = getattr(style, name)
    return jax.vmap(lambda drawn: drawn.even(name, limits))(plan.draws)[..., None]


# ---------------------------------------------------------------------------------- text


def place(draws: Draws, atlas: Atlas, style: Style) -> Text:
    """Draws a text and sets it out from left to right."""
    longest = style.length[1]
    (count,) = draws.whole("length", style.length)
    inside = jnp.arange(longest) < count
    ids = draws.whole("text", (0, len(style.alphabet) - 1), longest)
    (face,) = draws.whole("face", (0, len(style.faces) - 1))
    stretch = draws.even("stretch", style.stretch, longest)
    bearing, ink, advance = (
        metric[face, ids] * stretch for metric in (atlas.ink_left, atlas.ink_width, atlas.advance)
    )
    pace = jnp.where(inside, ink if style.spacing_by == "ink" else advance, 0)
    (left,), (spacing,) = draws.even("left", style.left), draws.even("spacing", style.spacing)
    room = style.width - left - spacing * (count - 1) - MARGIN
    (size,) = draws.even("size", style.size)
    scale = jnp.minimum(size / glyphs.EM, jnp.maximum(room, style.width / 4) / pace.sum())
    origin = left + (jnp.cumsum(pace) - pace) * scale + spacing * jnp.arange(longest)
    return Text(
        ids=jnp.where(inside, ids, PAD),
        face=face,
        scale=scale,
        centre=jnp.where(inside, origin + (bearing + ink / 2) * scale, 10.0 * style.width),
        baseline=draws.even("baseline", style.baseline)
        + draws.even("jitter", style.jitter, longest),
        stretch=stretch,
        turn=draws.even("turn", style.turn, longest) * (jnp.pi / 180),
        shear=draws.even("shear", style.shear, longest),
    )


def _by_column(text: Text, maps: jax.Array, style: Style) -> jax.Array:
    """Of `maps` [L, 7] those that hold for each column, [2, W, 7].

    A column is shared by two glyphs at the most: the last whose middle lies left of it and the
    first whose middle lies right. What would reach farther is cut off.
    """
    x = jnp.arange(style.width) + 0.5
    right = jnp.sum(text.centre[None, :] <= x[:, None], axis=1)  # [W]
    pair = jnp.stack((right - 1, right))  # [2, W]
    inside = (pair >= 0) & (pair < len(maps))
    return jnp.where(inside[..., None], maps[jnp.clip(pair, 0, len(maps) - 1)], 0)


@functools.partial(jax.jit, static_argnames="style")
def _glyph_places(plan: Plan, *, style: Style) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where each pixel lies in the two glyphs of its column: places in the atlas, and how far
    beyond them along u and v, [B, 2, W, H] each."""
    x, y = jnp.arange(style.width) + 0.5, jnp.arange(style.height) + 0.5
    u0, ux, uy, v0, vx, vy, start = jnp.moveaxis(plan.columns, -1, 0)  # [B, 2, W]
    u = jnp.clip(_outer(u0 + ux * x, uy, y), 0, CELL - 1.001)
    v = jnp.clip(_outer(v0 + vx * x, vy, y), 0, CELL - 1.001)
    start = _outer(start, jnp.zeros_like(uy), y).astype(jnp.int32)
    i, j = u.astype(jnp.int32), v.astype(jnp.int32)
    return (start + i) * CELL + j, u - i, v - j


def _outer(a: jax.Array, b: jax.Array, y: jax.Array) -> jax.Array:
    """a[..., None] + b[..., None] y of a, b [..., W] and y [H], as a matrix product.

    What XLA on a CPU broadcasts along one axis only, it looks up one pixel at a time.
    """
    left, right = jnp.stack((a, b), -1), jnp.stack((jnp.ones_like(y), y))
    return jnp.dot(left, right, precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.jit, static_argnames="style")
def _canvas(
    atlas: Atlas, plan: Plan, places: jax.Array, u: jax.Array, v: jax.Array, *, style: Style
) -> jax.Array:
    """The ink of the glyphs, u8 [B, W, H]."""
    weight, softness = _scalar(plan, "weight", style), _scalar(plan, "softness", style)
    fields = jnp.asarray(atlas.fields).ravel()
    cover = jnp.zeros(())
    for k in (0, 1):
        inside = _interpolate(_at(fields, places[:, k]), u[:, k], v[:, k]) - glyphs.ZERO
        inside = inside * (plan.text.scale / glyphs.UNITS)[:, None, None]
        ink = jnp.clip(0.5 + (inside + weight) / softness, 0, 1)
        cover = jnp.maximum(cover, ink)
    return jnp.rint(255 * cover).astype(jnp.uint8)


def _maps(text: Text, atlas: Atlas, style: Style) -> jax.Array:
    """From the picture (x, y) to a glyph's cell (u, v), pixels: f32 [L, 7].

    u = u0 + ux x + uy y and v = v0 + vx x + vy y; then the row of `atlas.fields` where the cell
    begins. A glyph is turned and sheared around the middle of its ink, half the height of an x
    above the baseline. All zeros is the corner of a cell, where no ink is.
    """
    symbol, inside = jnp.maximum(text.ids, 0), text.ids != PAD
    cos, sin = jnp.cos(text.turn), jnp.sin(text.turn)
    across, down = text.scale * text.stretch, text.scale
    middle = atlas.middle[text.face]
    x, y = text.centre, text.baseline - middle * text.scale
    ux, uy = (cos - text.shear * sin) / across, (sin + text.shear * cos) / across
    vx, vy = -sin / down, cos / down
    bearing = atlas.ink_left[text.face, symbol] + atlas.ink_width[text.face, symbol] / 2
    # The middles of a cell's pixels are at whole numbers.
    u0 = glyphs.LEFT - 0.5 + bearing - ux * x - uy * y
    v0 = glyphs.BASELINE - 0.5 - middle - vx * x - vy * y
    start = (text.face * len(style.alphabet) + symbol) * CELL
    columns = (u0, ux, uy, v0, vx, vy, start)
    maps = jnp.stack([c.astype(jnp.float32) for c in columns], axis=-1)
    return jnp.where(inside[:, None], maps, 0)


def _at(values: jax.Array, places: jax.Array) -> jax.Array:
    """values[places], which are known to be inside."""
    return values.at[places].get(mode="promise_in_bounds")


def _interpolate(four: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Bilinear, between the four bytes of u32: at (0, 0), (1, 0), (0, 1), (1, 1) of (u, v)."""
    a, b, c, d = (((four >> (8 * k)) & 255).astype(jnp.float32) for k in range(4))
    top, bottom = a + u * (b - a), c + u * (d - c)
    return top + v * (bottom - top)


# --------------------------------------------------------------------------------- warps


def wave(draws: Draws, name: str, count: int, style: Style) -> jax.Array:
    """a sin(2 pi (i / length + phase)) of i from 0: f32 [count]."""
    amplitude, length, phase = (
        draws.even(name + suffix, getattr(style, name + suffix))
        for suffix in ("", "_length", "_phase")
    )
    return amplitude * jnp.sin(2 * jnp.pi * (jnp.arange(count) / length + phase))


@functools.partial(jax.jit, static_argnames="style")
def _warp_places(plan: Plan, *, style: Style) -> tuple[jax.Array, ...]:
    """Where each pixel of the picture comes from on the canvas.

    That column, and `_cover`'s place, u and v, [B, W, H] each. Waves move a row along the width
    and a column along the height. Water moves a pixel along the radius from a point, by
    a sin(distance / length) that dies away towards the rim; as do the filters of those names in
    JH Labs' Java image filters, there for one set of strengths.
    """
    x = _sums(jnp.zeros_like(plan.wave_y) + jnp.arange(style.width), plan.wave_x)
    y = _sums(plan.wave_y, jnp.zeros_like(plan.wave_x) + jnp.arange(style.height))
    if style.water != (0, 0):
        dx = x - _scalar(plan, "water_at_x", style) * style.width
        dy = y - _scalar(plan, "water_at_y", style) * style.height
        distance = jnp.sqrt(dx * dx + dy * dy + 1e-6)
        amplitude, length, phase, radius = (
            _scalar(plan, name, style)
            for name in ("water", "water_length", "water_phase", "water_radius")
        )
        shift = amplitude * jnp.maximum(1 - distance / radius, 0) / distance
        shift = shift * _sine(distance / length + phase)
        x, y = x + dx * shift, y + dy * shift
    x, y = jnp.clip(x, 0, style.width - 1), jnp.clip(y, 0, style.height - 1)
    i, j = x.astype(jnp.int32), y.astype(jnp.int32)
    start = jnp.arange(len(x), dtype=jnp.int32)[:, None, None] * style.width
    return x, (start + i) * style.height + j, x - i, y - j


def _sums(a: jax.Array, b: jax.Array) -> jax.Array:
    """a[:, :, None] + b[:, None, :] of a [B, W] and b [B, H], as a matrix product: see `_outer`."""
    left, right = jnp.stack((a, jnp.ones_like(a)), -1), jnp.stack((jnp.ones_like(b), b), 1)
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _sine(turns: jax.Array) -> jax.Array:
    """sin(2 pi turns) to 1e-3, by a parabola and its square: a quarter of the cost of sin."""
    part = turns - jnp.round(turns)  # from -1/2 to 1/2
    parabola = part * (8 - 16 * jnp.abs(part))
    return parabola * (0.775 + 0.225 * jnp.abs(parabola))


@jax.jit
def _packed(canvas: jax.Array) -> jax.Array:
    """u32 of u8 [B, W, H]: each pixel with its neighbours to the right, below, and both."""
    wide = jnp.pad(canvas, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(jnp.uint32)
    return (
        wide[:, :-1, :-1] | wide[:, 1:, :-1] << 8 | wide[:, :-1, 1:] << 16 | wide[:, 1:, 1:] << 24
    )


@jax.jit
def _cover(packed: jax.Array, places: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """The canvas at `places`, f32 [B, W, H] from 0 to 1."""
    return _interpolate(_at(packed.ravel(), places), u, v) / 255


# -------------------------------------------------------------------------------- curves


def chords(draws: Draws, style: Style) -> jax.Array:
    """The chords of the curves, f32 [S, 6]: x and y of the start, steps to the end, one over the
    square of the length, half of the width.

    A curve is drawn as chords, as Java's path iterator cuts it: in two, until its control points
    lie within `curve_flatness` of the chord; the n-th chord takes the n-th width.
    """
    (count,), most = draws.whole("curves", style.curves), style.curves[1]
    if not most:
        return jnp.zeros((0, 6))
    x = jnp.asarray([style.curve_x[k % len(style.curve_x)] for k in range(most)]) * style.width
    y = draws.even("curve_y", (0, style.height), 4 * most).reshape(most, 4)
    ends, breaks = jax.vmap(lambda p: _chords(p, style.curve_flatness))(jnp.stack((x, y), -1))
    order = jnp.cumsum(breaks, axis=1) - 1  # [curves, leaves], which chord a leaf is part of
    widths = jnp.asarray(style.curve_width)[jnp.clip(order, 0, len(style.curve_width) - 1)]
    # A curve that is not drawn lies far away.
    ends = jnp.where((jnp.arange(most) < count)[:, None, None], ends, -1000.0)
    starts, steps = ends[:, :-1], ends[:, 1:] - ends[:, :-1]  # [curves, leaves, 2]
    inverse = 1 / (jnp.sum(steps**2, axis=-1) + 1e-6)
    leaves = (starts[..., 0], starts[..., 1], steps[..., 0], steps[..., 1], inverse, widths / 2)
    return jnp.stack([leaf.ravel() for leaf in leaves], axis=-1)


@functools.partial(jax.jit, static_argnames="style")
def _lines(plan: Plan, *, style: Style) -> jax.Array:
    """The ink of the curves, f32 [B, W, H] from 0 to 1."""
    px = (jnp.arange(style.width) + 0.5)[:, None]
    py = jnp.arange(style.height) + 0.5
    cover = jnp.zeros((len(plan.chords), style.width, style.height))
    for ax, ay, dx, dy, inverse, half in jnp.transpose(plan.chords, (1, 2, 0))[..., None, None]:
        ex, ey = px - ax, py - ay
        part = jnp.clip((ex * dx + ey * dy) * inverse, 0, 1)
        ex, ey = ex - part * dx, ey - part * dy
        # half - distance, to first order at the edge, and without a root.
        ink = 0.5 + (half * half - (ex * ex + ey * ey)) / (2 * half)
        cover = jnp.maximum(cover, jnp.minimum(ink, 1))
    return cover


def _chords(points: jax.Array, flatness: float) -> tuple[jax.Array, jax.Array]:
    """A cubic Bezier curve [4, 2] at quarters, [5, 2], and which quarters begin a chord, bool [4].

    Where a stretch is flat enough, the points inside it are moved onto its chord.
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
    """de Casteljau: the control points [4, 2] of both halves of a cubic Bezier curve."""
    a, b, c = (p[:-1] + p[1:]) / 2
    d, e = (a + b) / 2, (b + c) / 2
    middle = (d + e) / 2
    return jnp.stack((p[0], a, d, middle)), jnp.stack((middle, e, c, p[3]))


def _is_flat(p: jax.Array, flatness: float) -> jax.Array:
    """Whether both inner control points lie within `flatness` of the chord, a segment."""
    chord = p[3] - p[0]
    part = jnp.clip((p[1:3] - p[0]) @ chord / (chord @ chord + 1e-6), 0, 1)  # [2]
    away = p[1:3] - p[0] - part[:, None] * chord
    return jnp.all(jnp.sum(away**2, axis=1) <= flatness**2)


# -------------------------------------------------------------------------------- finish


@functools.partial(jax.jit, static_argnames="style")
def _finished(
    plan: Plan, cover: jax.Array, lines: jax.Array, x: jax.Array, *, style: Style
) -> jax.Array:
    return jax.vmap(lambda *parts: finish(*parts, style))(plan.draws, plan.text, cover, lines, x)


def finish(
    draws: Draws, text: Text, cover: jax.Array, lines: jax.Array, x: jax.Array, style: Style
) -> jax.Array:
    """Ink on paper, curves, dots, blur and noise: u8 [W, H, C] of covers [W, H].

    `x` [W, H] is where the cover was taken from, by which a glyph's own ink is known.
    """
    channels = 3 if style.colour else 1

    def shade(name: str) -> jax.Array:
        return draws.even(name, getattr(style, name), channels)

    ink = shade("ink")
    if style.ink_each:
        inks = draws.even("ink", style.ink, len(text.ids) * channels).reshape(-1, channels)
        # Of the glyph whose middle is nearest.
        bounds = (text.centre[1:] + text.centre[:-1]) / 2
        ink = sum(
            (
                (b - a) * (x >= bound)[..., None]
                for a, b, bound in zip(inks, inks[1:], bounds, strict=False)
            ),
            start=inks[0],
        )  # [W, H, C]
    # A gradient along the diagonal.
    u = jnp.arange(style.width)[:, None] * style.width + jnp.arange(style.height) * style.height
    share = (u / (style.width**2 + style.height**2))[..., None]
    left, right = shade("paper"), shade("paper_end")
    pixels = left + (right - left) * share
    pixels = pixels + cover[..., None] * (ink - pixels)
    if style.curves[1]:
        pixels = pixels + lines[..., None] * (shade("curve_ink") - pixels)
    if style.dots != (0, 0):
        is_dot = _grain(draws, "dot_grain", cover.shape)[0] < draws.even("dots", style.dots) * 256
        pixels = jnp.where(is_dot[..., None], ink, pixels)
    if style.blur != (0, 0):
        pixels = pixels + draws.even("blur", style.blur) * (_box(pixels) - pixels)
    if style.noise != (0, 0):
        # The sum of four even bytes: mean 510, deviation sqrt(4 (256^2 - 1) / 12).
        bell = (sum(_grain(draws, "grain", pixels.shape)) - 510) / 147.8
        pixels = pixels + draws.even("noise", style.noise) * bell
    return jnp.clip(jnp.rint(pixels), 0, 255).astype(jnp.uint8)


def _grain(draws: Draws, name: str, shape: tuple[int, ...]) -> list[jax.Array]:
    """Four even bytes for each pixel, f32: a hash of its place and of the picture's numbers.

    Cheaper than a cipher's bits by a factor of ten, and good enough for an eye. The hash is a
    multiply-and-shift mixer of 32 bits (constants of Wellons 2018, "lowbias32").
    """
    low, high = draws.even(name, (0, 2**16), 2).astype(jnp.uint32)
    h = jnp.arange(int(np.prod(shape)), dtype=jnp.uint32).reshape(shape) * jnp.uint32(0x9E3779B9)
    h = h ^ (low | high << 16)
    h = (h ^ h >> 16) * jnp.uint32(0x7FEB352D)
    h = (h ^ h >> 15) * jnp.uint32(0x846CA68B)
    h = h ^ h >> 16
    return [((h >> (8 * k)) & 255).astype(jnp.float32) for k in range(4)]


def _box(pixels: jax.Array) -> jax.Array:
    """The mean over 3x3 pixels of [W, H, C]; the edge repeats."""
    wide = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    wide = wide[:-2] + wide[1:-1] + wide[2:]
    return (wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]) / 9
