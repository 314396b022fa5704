"""Colors of a wide image: paper, the ink of each glyph, and clutter. RGB from 0 to 1."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.data.synthetic.wide.text import LONGEST

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
# Least difference of luma between ink and paper: in most images, and in hard ones.
_CONTRAST, _FAINT = 0.28, 0.16


class Colors(NamedTuple):
    """The colors of an image, from 0 to 1."""

    paper: jax.Array  # f32 [3]
    ink: jax.Array  # f32 [L, 3]
    is_dark: jax.Array  # bool: light ink on dark paper


def draw_colors(draws: Draws) -> Colors:
    """Draws dark on light, light on dark, gray, colored, or a separate color for each glyph."""
    kind = draws.pick((28, 27, 14, 20, 6, 5))
    is_dark = jnp.array([False, False, True, False, True, False])[kind]
    saturation = jnp.array([0.0, 1.0, 0.6, 1.0, 1.0, 1.0])[kind] * draws.between(0.3, 1)
    each = jnp.array([False, False, False, True, True, False])[kind]
    bright = jnp.where(draws.chance(0.5), draws.between(0.92, 1), draws.between(0.62, 1))
    paper_luma = jnp.where(is_dark, draws.between(0, 0.3), bright)
    # Any luma that differs enough from the paper's.
    contrast = jnp.where(draws.chance(0.12), _FAINT, _CONTRAST)
    strength = draws.unit() ** 0.7
    dark = strength * 0.1 + (1 - strength) * (paper_luma - contrast)
    light = paper_luma + contrast + strength * (1 - paper_luma - contrast)
    luma = jnp.where(is_dark, light, jnp.maximum(dark, 0))
    wobble = jnp.where(each, draws.around(0.12, LONGEST), 0.0)
    lumas = luma + wobble
    lumas = jnp.where(
        is_dark,
        jnp.clip(lumas, paper_luma + contrast, 1),
        jnp.clip(lumas, 0, paper_luma - contrast),
    )
    hues = draws.unit(3 * LONGEST).reshape(LONGEST, 3)
    hues = jnp.where(each, hues, hues[:1])
    paper_saturation = jnp.where(draws.chance(0.35), draws.between(0, 0.6), 0.0)
    paper = tinted(draws.unit(3), paper_luma, paper_saturation)
    return Colors(paper, tinted(hues, lumas[:, None], saturation), is_dark)


def tinted(hue: jax.Array, luma: jax.Array, saturation: jax.Array) -> jax.Array:
    """Returns a color [..., 3] with a luma, as far from gray as saturation and range allow."""
    away = hue - luma_of(hue)[..., None]
    away = away / (jnp.max(jnp.abs(away), axis=-1, keepdims=True) + 1e-3)
    # The largest step that stays within [0, 1].
    up = jnp.where(away > 0, (1 - luma) / jnp.maximum(away, 1e-3), jnp.inf)
    down = jnp.where(away < 0, luma / jnp.maximum(-away, 1e-3), jnp.inf)
    step = jnp.min(jnp.minimum(up, down), axis=-1, keepdims=True)
    return jnp.clip(luma + jnp.minimum(step, 1) * saturation * away, 0, 1)


def luma_of(color: jax.Array) -> jax.Array:
    """Returns the luma [...] of colors [..., 3]."""
    return jnp.dot(color, LUMA, precision=jax.lax.Precision.HIGHEST)


def clutter_color(draws: Draws, colors: Colors, count: int) -> jax.Array:
    """Draws colors [count, 3] of lines and shapes: the ink's, any, black, or the paper's."""
    any_color = tinted(
        draws.unit(3 * count).reshape(count, 3), draws.unit(count)[:, None], jnp.ones(())
    )
    kind = draws.pick((45, 35, 12, 8), count)[:, None]
    ink = colors.ink[draws.whole(3, count)]  # every text has at least three glyphs
    choices = (ink, any_color, jnp.zeros((count, 3)), jnp.broadcast_to(colors.paper, (count, 3)))
    return jnp.select([kind == k for k in range(4)], choices)
