"""Images of the wide family: a pure function of (atlas, seed, number), on the device.

Image i of a seed is the same on its own and in any batch, as in `data.synthetic.render`. Every
feature is computed for every image and then switched on or off, without branches.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic.sine import sine
from crnn_jax.data.synthetic.wide import camera, clutter
from crnn_jax.data.synthetic.wide.colors import Colors, clutter_color, draw_colors
from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.data.synthetic.wide.face_atlas import BASELINE, CAPITAL
from crnn_jax.data.synthetic.wide.text import LONGEST, Atlas, Text, draw_text

VERSION = 2  # raise it with every change that changes an image; part of every fingerprint
WIDTH, HEIGHT = 256, 64
_NUMBERS = 1024  # random numbers per image, with some to spare


@jax.jit
def images(
    atlas: Atlas, seed: jax.Array | np.uint32, numbers: jax.Array | np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Draws images `numbers` i32 [B] of a seed: u8 [B, W, H, 3], and i32 [B, L] into SYMBOLS."""
    root = jax.random.key(seed)
    return jax.vmap(lambda number: draw_image(jax.random.fold_in(root, number), atlas))(numbers)


def draw_image(key: jax.Array, atlas: Atlas) -> tuple[jax.Array, jax.Array]:
    """Draws one image u8 [W, H, 3] and its text i32 [L]."""
    draws = Draws(key, _NUMBERS)
    x, y = jnp.meshgrid(jnp.arange(WIDTH) + 0.5, jnp.arange(HEIGHT) + 0.5, indexing="ij")
    colors = draw_colors(draws)

    # Size and place of the text: the height of a capital, and the width of the text.
    small = draws.chance(0.25)
    high = jnp.where(small, 0.16 * 2.2 ** draws.unit(), draws.between(0.34, 0.76)) * HEIGHT
    room = 0.5 * (0.96 * HEIGHT / high - 1)
    text = draw_text(draws, atlas, room)
    wanted = draws.between(0.45, 0.97) * WIDTH
    squeeze = jnp.clip(wanted / (text.width * high), 0.42, 2.3)  # horizontal over vertical pixels
    across = jnp.minimum(squeeze * high, 0.97 * WIDTH / text.width)  # horizontal pixels per cap
    free_x = WIDTH - across * text.width
    free_y = HEIGHT - high * (1.1 + 2 * jnp.abs(text.y).max())
    x0 = WIDTH / 2 + 0.5 * free_x * jnp.where(draws.chance(0.5), draws.around(0.3), draws.around(1))
    y0 = HEIGHT / 2 + 0.5 * jnp.maximum(free_y, 0.03 * HEIGHT) * draws.around(0.9)
    # Coordinates in caps around the middle of the text, warped together.
    slack = jnp.maximum(free_y, 0) / high / 2  # caps by which a warp may move glyphs up or down
    wx, wy = _warp(draws, (x - x0) / across, (y - y0) / high, text.width / 2, slack)
    scale = jnp.sqrt(across * high)  # pixels per cap, approximately

    pen = _draw_pen(draws, scale)
    behind = [
        layer(draws, atlas, x, y, HEIGHT, colors.paper)
        for layer in (clutter.words, clutter.stray_glyphs)
    ]
    glyphs = _glyphs(text, jnp.stack((wx - pen.shadow_x, wx)), jnp.stack((wy - pen.shadow_y, wy)))
    # One lookup for all glyphs. The barriers keep XLA from computing the places again for each of
    # the four pixels that a lookup reads.
    places = [jnp.stack([cells[k] for cells in behind]) for k in range(3)]
    places = [
        jnp.concatenate((a, b.reshape(-1, WIDTH, HEIGHT)))
        for a, b in zip(places, glyphs[:3], strict=True)
    ]
    places = jax.lax.optimization_barrier(places)
    distances = clutter.sample_field(atlas.fields, *places)
    distances = jax.lax.optimization_barrier(distances)

    pixels = _paper(draws, colors, x, y)
    for cells, distance in zip(behind, distances, strict=False):
        pixels = _over(pixels, cells.cover(distance), cells.color)
    strokes = clutter.shapes(draws, colors, x, y, HEIGHT)
    for cover, color in zip(strokes.cover, strokes.color, strict=True):
        pixels = _over(pixels, cover, color)
    grid_color = clutter_color(draws, colors, 1)[0]
    pixels = _over(pixels, clutter.grid(draws, x, y, HEIGHT), grid_color)
    strokes = clutter.lines(draws, colors, x, y, HEIGHT)
    for cover, color, is_front in zip(*strokes, strict=True):
        pixels = _over(pixels, cover * ~is_front, color)
    distances = distances[len(behind) :].reshape(2, 3, WIDTH, HEIGHT)
    pixels = _write(pen, colors, glyphs, distances * (scale / CAPITAL), pixels)
    for cover, color, is_front in zip(*strokes, strict=True):
        pixels = _over(pixels, cover * is_front, color)
    pixels = jax.lax.optimization_barrier(pixels)
    pixels = camera.shoot(draws, pixels, colors.ink[0], high / HEIGHT)
    return jnp.rint(255 * pixels).astype(jnp.uint8), text.ids


def _over(pixels: jax.Array, cover: jax.Array, color: jax.Array) -> jax.Array:
    return pixels + cover[..., None] * (jnp.broadcast_to(color, pixels.shape) - pixels)


def _paper(draws: Draws, colors: Colors, x: jax.Array, y: jax.Array) -> jax.Array:
    """Draws the paper [W, H, 3]: uniform, a gradient, or soft waves of color."""
    slope = jnp.where(draws.chance(0.25), draws.around(0.2), 0.0)
    cos, sin = jnp.cos(6.28 * draws.unit()), jnp.sin(6.28 * draws.unit())
    ramp = slope * (cos * (x / WIDTH - 0.5) + sin * (y / HEIGHT - 0.5))
    pixels = colors.paper[None, None] + ramp[..., None]
    strength = jnp.where(draws.chance(0.15), draws.between(0, 0.1), 0.0)
    for _ in range(2):
        wx, wy = draws.around(0.02), draws.around(0.03)
        wave = sine(wx * x + wy * y + draws.unit())
        pixels = pixels + strength * wave[..., None] * draws.around(1, 3)[None, None]
    return jnp.clip(pixels, 0, 1)


def _warp(
    draws: Draws, x: jax.Array, y: jax.Array, half: jax.Array, slack: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Maps caps in the image to caps in the text before warping."""
    slack = jnp.maximum(slack, 0.06)
    most = jnp.minimum(0.2, slack / half)  # keeps both ends inside the image
    angle = jnp.where(draws.chance(0.3), draws.around(1) * most, 0.0)
    x, y = x * jnp.cos(angle) + y * jnp.sin(angle), y * jnp.cos(angle) - x * jnp.sin(angle)
    arc = jnp.where(draws.chance(0.1), draws.around(1) * jnp.minimum(slack, 0.5), 0.0)
    y = y + arc * ((x / half) ** 2 - 0.4)
    y = y * (1 + jnp.where(draws.chance(0.12), draws.around(0.3), 0.0) * x / half)
    on = draws.chance(0.4)
    dy = jnp.where(on, draws.between(0, 1) * jnp.minimum(0.25, slack + 0.08), 0.0)
    dx = jnp.where(on, draws.between(0, 0.16), 0.0)
    y = y + dy * sine(x / draws.between(1.2, 6) + draws.unit())
    x = x + dx * sine(y / draws.between(0.8, 3) + draws.unit())
    ripple = jnp.where(draws.chance(0.12), draws.between(0, 0.07), 0.0)
    length = draws.between(0.35, 1.0)
    return (
        x + ripple * sine(y / length + draws.unit()),
        y + ripple * sine(x / length + draws.unit()),
    )


class Pen(NamedTuple):
    """How glyphs are drawn. Lengths are in pixels of the image, those of shadows in caps."""

    weight: jax.Array  # added on each side of a stroke
    softness: jax.Array  # width of an edge
    is_hollow: jax.Array
    stroke: jax.Array  # width of the outline of a hollow glyph
    fill: jax.Array  # ink inside a hollow glyph, from 0 to 1
    alpha: jax.Array
    shadow_x: jax.Array
    shadow_y: jax.Array
    shadow: jax.Array  # strength, 0 for none
    shade: jax.Array  # color of the shadow, from paper to ink


def _draw_pen(draws: Draws, scale: jax.Array) -> Pen:
    is_hollow = draws.chance(0.14)
    return Pen(
        weight=jnp.where(draws.chance(0.35), draws.between(-0.02, 0.08), 0.0) * scale,
        softness=jnp.where(draws.chance(0.2), draws.between(1, 2.2), 0.8),
        is_hollow=is_hollow,
        stroke=jnp.maximum(draws.between(0.05, 0.1) * scale, 1.3),
        fill=jnp.where(draws.chance(0.4), draws.unit(), 0.0),
        alpha=jnp.where(draws.chance(0.12) & ~is_hollow, draws.between(0.65, 1), 1.0),
        shadow_x=draws.around(0.14),
        shadow_y=draws.around(0.14),
        shadow=0.6 * draws.chance(0.1),
        shade=draws.between(0.3, 1),
    )


def _glyphs(
    text: Text, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Finds the glyphs that cover each pixel, for x, y [..., W, H].

    A pixel is covered by the glyph whose middle is nearest and by its two neighbors, which are
    drawn first.

    Returns:
      Starts of cells, u, v, the glyph, and whether there is one, [..., 3, W, H] each.
    """
    bounds = (text.x[1:] + text.x[:-1]) / 2
    nearest = sum((x >= bound).astype(jnp.int32) for bound in bounds)
    place = jnp.stack((nearest - 1, nearest + 1, nearest), axis=-3)
    glyph = jnp.clip(place, 0, LONGEST - 1)
    table = jnp.concatenate(
        (text.x[:, None], text.y[:, None], text.matrix, text.u0[:, None]), axis=1
    )
    gx, gy, uu, uv, vu, vv, u0 = jnp.moveaxis(table[glyph], -1, 0)
    dx, dy = x[..., None, :, :] - gx, y[..., None, :, :] - gy
    u = u0 + uu * dx + uv * dy
    v = BASELINE - CAPITAL / 2 - 0.5 + vu * dx + vv * dy
    is_real = (place == glyph) & (text.ids >= 0)[glyph]
    return text.start[glyph], u, v, glyph, is_real


def _write(
    pen: Pen,
    colors: Colors,
    glyphs: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    inside: jax.Array,
    pixels: jax.Array,
) -> jax.Array:
    """Draws shadows and glyphs over the pixels.

    `inside` [2, 3, W, H] is how far each pixel lies inside the outline, in pixels.
    """
    _, _, _, glyph, is_real = glyphs
    inside = inside + pen.weight
    whole = jnp.clip(0.5 + inside / pen.softness, 0, 1) * is_real
    inner = jnp.clip(0.5 + (inside - pen.stroke) / pen.softness, 0, 1) * is_real * pen.is_hollow
    paper = colors.paper[None]
    inside_color = paper + 0.5 * pen.fill * (colors.ink - paper)  # [L, 3]
    dark = paper + pen.shade * (0.5 * colors.ink - paper)
    for k in range(3):
        pixels = _over(pixels, whole[0, k] * pen.shadow, dark[glyph[0, k]])
    for k in range(3):
        pixels = _over(pixels, whole[1, k] * pen.alpha, colors.ink[glyph[1, k]])
        pixels = _over(pixels, inner[1, k], inside_color[glyph[1, k]])
    return pixels
