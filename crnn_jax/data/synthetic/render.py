"""Generated captchas: a pure function of (style, seed, number), on the device.

Image i of a seed is the same on its own and in any batch: its key is the seed's key folded with i,
and no operation looks at another image. `images` draws a batch in jitted stages: the layout of the
glyphs, their ink on a canvas, the source of each pixel under a warp, the lookup there, and finally
paper, curves and grain.

The stages are separate programs because XLA on a CPU fuses the computation of a lookup's input
into the lookup, and repeats it for each pixel that is looked up.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic import curves, glyphs, interpolation, text_layout, warps
from crnn_jax.data.synthetic.glyphs import Atlas
from crnn_jax.data.synthetic.hashing import lowbias32
from crnn_jax.data.synthetic.random_params import NamedDraws, draws, ranges_of
from crnn_jax.data.synthetic.style import Style
from crnn_jax.data.synthetic.text_layout import Text

VERSION = 2  # raise it with every change that changes an image; part of every fingerprint


def atlas_of(style: Style) -> Atlas:
    """Returns the glyphs of a style, as `images` takes them."""
    return glyphs.atlas(style.alphabet, style.faces)


def images(
    atlas: Atlas,
    seed: int | np.uint32 | jax.Array,
    numbers: jax.Array | np.ndarray,
    *,
    style: Style,
) -> tuple[jax.Array, jax.Array]:
    """Draws the images with `numbers` i32 [B].

    Args:
      atlas: `atlas_of(style)`, best put on the device once.
      seed: an integer from 0 to 2**32 - 1.
      numbers: the numbers of the images.
      style: the style.

    Returns:
      Images u8 [B, W, H, C], with C = 3 for a style in color, else 1; and labels i32 [B, L],
      indices into the style's alphabet, padded with PAD to the style's greatest length L.
    """
    if isinstance(seed, int):
        seed = np.uint32(seed)  # JAX would take it as int32
    ranges, style = ranges_of(style), style.static_part()
    plan = _plan(atlas, ranges, seed, numbers, style=style)
    drawn = plan.draws
    weight, softness = (drawn.scalar(name) for name in ("weight", "softness"))
    scale = plan.text.scale[:, None, None]
    canvas = text_layout.ink(
        atlas, *text_layout.places(plan.columns, style=style), scale, weight, softness
    )
    if style.water != (0, 0):
        canvas = interpolation.sample(
            interpolation.packed(canvas), *warps.water(drawn, style=style)
        )
    x, *places = warps.waves(plan.wave_x, plan.wave_y, style=style)
    ink = interpolation.sample(interpolation.packed(canvas), *places)
    lines = curves.cover(plan.chords, style=style)
    return _finished(plan, ink, lines, x, style=style), plan.text.ids


class Plan(NamedTuple):
    """The random parameters of B images, drawn before any pixel."""

    draws: NamedDraws
    text: Text
    columns: jax.Array  # f32 [B, 2, W, 7], maps to the two glyphs that share each column
    wave_x: jax.Array  # f32 [B, H], how far each row is moved along the width
    wave_y: jax.Array  # f32 [B, W]
    chords: jax.Array  # f32 [B, S, 6]


@functools.partial(jax.jit, static_argnames="style")
def _plan(
    atlas: Atlas,
    ranges: jax.Array,
    seed: np.uint32 | jax.Array,
    numbers: jax.Array,
    *,
    style: Style,
) -> Plan:
    atlas = jax.tree.map(jnp.asarray, atlas)
    root = jax.random.key(seed)

    def one(number: jax.Array) -> Plan:
        drawn = draws(jax.random.fold_in(root, number), ranges, style)
        text = text_layout.place(drawn, atlas, style)
        columns = text_layout.by_column(text, atlas, style)
        waves = (
            warps.wave(drawn, "wave_x", style.height),
            warps.wave(drawn, "wave_y", style.width),
        )
        return Plan(drawn, text, columns, *waves, curves.chords(drawn, style))

    return jax.vmap(one)(numbers)


@functools.partial(jax.jit, static_argnames="style")
def _finished(
    plan: Plan, cover: jax.Array, lines: jax.Array, x: jax.Array, *, style: Style
) -> jax.Array:
    one = functools.partial(finish, style=style)
    return jax.vmap(one)(plan.draws, plan.text, cover, lines, x)


def finish(
    draws: NamedDraws, text: Text, cover: jax.Array, lines: jax.Array, x: jax.Array, style: Style
) -> jax.Array:
    """Draws ink on paper, curves, dots, blur and noise: covers [W, H] to u8 [W, H, C].

    `x` [W, H] is the column that each cover was taken from. It decides whose glyph's ink is used.
    """
    channels = 3 if style.colour else 1

    def shade(name: str) -> jax.Array:
        return draws.even(name, channels)[None, None, :]

    ink = shade("ink")
    if style.ink_each:
        inks = draws.even("ink", len(text.ids) * channels).reshape(-1, 1, 1, channels)
        # The shade of the glyph whose middle is nearest.
        bounds = (text.center[1:] + text.center[:-1]) / 2
        ink = jnp.broadcast_to(inks[0], (*cover.shape, channels))
        for k in range(len(text.ids) - 1):
            ink = jnp.where((x >= bounds[k])[..., None], inks[k + 1], ink)
    # A gradient along the diagonal.
    u = jnp.arange(style.width)[:, None] * style.width
    v = jnp.arange(style.height)[None, :] * style.height
    share = ((u + v) / (style.width**2 + style.height**2))[..., None]
    left, right = shade("paper"), shade("paper_end")
    pixels = left + (right - left) * share
    pixels = pixels + (cover / 255)[..., None] * (ink - pixels)
    if style.curves[1]:
        pixels = pixels + lines[..., None] * (shade("curve_ink") - pixels)
    if style.dots != (0, 0):
        is_dot = _grain(draws, "dot_grain", cover.shape)[0] < 256 * draws.even("dots")[0]
        pixels = jnp.where(is_dot[..., None], ink, pixels)
    if style.blur != (0, 0):
        pixels = pixels + draws.even("blur")[0] * (_box(pixels) - pixels)
    if style.noise != (0, 0):
        # The sum of four uniform bytes: mean 510, std sqrt(4 (256^2 - 1) / 12).
        bell = (sum(_grain(draws, "grain", pixels.shape)) - 510) / 147.8
        pixels = pixels + draws.even("noise")[0] * bell
    return jnp.clip(jnp.rint(pixels), 0, 255).astype(jnp.uint8)


def _grain(draws: NamedDraws, name: str, shape: tuple[int, ...]) -> list[jax.Array]:
    """Returns four uniform bytes for each pixel, f32: a hash of its place and the image's numbers.

    The hash is cheaper than the cipher of jax.random, and random enough for noise.
    """
    low, high = (2**16 * draws.even(name, 2)).astype(jnp.uint32)
    h = jnp.arange(int(np.prod(shape)), dtype=jnp.uint32).reshape(shape) * jnp.uint32(0x9E3779B9)
    h = lowbias32(h ^ (low | high << 16))
    return [((h >> (8 * k)) & 255).astype(jnp.float32) for k in range(4)]


def _box(pixels: jax.Array) -> jax.Array:
    """Returns the mean over 3x3 pixels of [W, H, C]; the edge repeats."""
    wide = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    wide = wide[:-2] + wide[1:-1] + wide[2:]
    return (wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]) / 9
