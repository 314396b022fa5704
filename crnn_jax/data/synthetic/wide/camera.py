"""Degrades a wide image after drawing: resizing, blur, noise, dots, JPEG."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic.wide.clutter import hashed, share
from crnn_jax.data.synthetic.wide.draws import Draws

_BLOCK = 8  # side of a JPEG block, pixels


def shoot(draws: Draws, pixels: jax.Array, ink: jax.Array, capital: jax.Array) -> jax.Array:
    """Degrades the pixels [W, H, 3], from 0 to 1, as a small or compressed image file would.

    Args:
      draws: the random numbers of the image.
      pixels: as drawn, with sharp edges.
      ink: [3], a color for dots.
      capital: height of a capital as a share of the image's height; keeps small text legible.
    """
    width, height, _ = pixels.shape
    # The size of the image in its file, at most that of the canvas.
    small = draws.chance(0.55)
    least = jnp.minimum(10 / (height * capital), 1)  # a capital has 10 pixels at least
    shrink = least + (1 - least) * draws.unit()
    own_width = jnp.where(small, jnp.clip(shrink * draws.between(0.75, 1.35), least, 1), 1.0)
    own_width, own_height = own_width * width, jnp.where(small, shrink, 1.0) * height
    own_width, own_height = jnp.floor(own_width), jnp.floor(own_height)
    is_jagged = draws.chance(0.2)  # drawn without gray edges
    blur = jnp.where(draws.chance(0.35), 1 + draws.unit() * jnp.minimum(3 * capital, 1.4), 1.0)
    down_x = _reduction(width, own_width, blur, is_jagged)
    down_y = _reduction(height, own_height, blur, is_jagged)
    pixels = _apply(down_x, down_y, pixels)
    pixels = _grain(draws, pixels, ink)
    pixels = jnp.clip(pixels, 0, 1)
    pixels = jnp.where(draws.chance(0.2), _jpeg(pixels, draws.between(0.03, 0.16) ** 1.5), pixels)
    up_x, up_y = _enlargement(width, own_width), _enlargement(height, own_height)
    return jnp.clip(_apply(up_x, up_y, pixels), 0, 1)


def _apply(along: jax.Array, down: jax.Array, pixels: jax.Array) -> jax.Array:
    return jnp.einsum("aw,whc,bh->abc", along, pixels, down)


def _reduction(size: int, own: jax.Array, blur: jax.Array, is_jagged: jax.Array) -> jax.Array:
    """Returns a matrix [size, size]: row i < own makes pixel i of the small image."""
    i, j = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    ratio = size / own
    middle = (i + 0.5) * ratio - 0.5
    weight = jnp.maximum(1 - jnp.abs(j - middle) / (ratio * blur), 0)
    nearest = (jnp.abs(j - middle) <= 0.5).astype(jnp.float32)
    weight = jnp.where(is_jagged, nearest, weight) + 1e-9
    weight = weight / jnp.sum(weight, axis=1, keepdims=True)
    return jnp.where(i < own, weight, 0)


def _enlargement(size: int, own: jax.Array) -> jax.Array:
    """Returns a bilinear matrix [size, size] from the first `own` pixels to all; edges repeat."""
    i, j = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    middle = jnp.clip((i + 0.5) * own / size - 0.5, 0, own - 1)
    return jnp.maximum(1 - jnp.abs(j - middle), 0)


def _grain(draws: Draws, pixels: jax.Array, ink: jax.Array) -> jax.Array:
    """Adds noise, and dots of one or a few pixels."""
    width, height, _ = pixels.shape
    i = jnp.arange(width, dtype=jnp.int32)[:, None]
    j = jnp.arange(height, dtype=jnp.int32)[None, :]
    seeds = draws.whole(2**24, 3)
    # The sum of four uniform bytes is nearly normal: standard deviation sqrt(4 / 12).
    bits = [hashed(i * height + j, seeds[0] + c) for c in range(3)]
    bell = jnp.stack([sum(share(b, s) for s in (0, 8, 16, 24)) - 2 for b in bits], axis=-1)
    bell = jnp.where(draws.chance(0.5), bell, bell[..., :1]) / np.sqrt(4 / 12)
    strength = draws.between(0, 0.47) ** 2
    pixels = pixels + jnp.where(draws.chance(0.35), strength, 0.0) * bell

    size = 1 + draws.pick((65, 25, 10))
    spots = hashed((i // size) * 4096 + j // size, seeds[1])
    density = jnp.where(draws.chance(0.3), 0.16 * draws.unit() ** 2, 0.0) / size
    is_spot = (spots & 0xFFFF).astype(jnp.float32) / 65536 < density
    kind = draws.pick((35, 30, 20, 15))
    any_color = jnp.stack([share(hashed(spots, seeds[2]), s) for s in (0, 8, 16)], axis=-1)
    salt = jnp.broadcast_to(
        (share(spots, 16) < 0.5).astype(jnp.float32)[..., None], any_color.shape
    )
    color = jnp.select(
        [kind == 0, kind == 1, kind == 2],
        [jnp.broadcast_to(ink, any_color.shape), any_color, salt],
        jnp.zeros_like(any_color),
    )
    return jnp.where(is_spot[..., None], color, pixels)


def _jpeg(pixels: jax.Array, step: jax.Array) -> jax.Array:
    """Rounds the coefficients of 8x8 blocks; the steps grow with the frequency."""
    width, height, channels = pixels.shape
    pad = [(0, -width % _BLOCK), (0, -height % _BLOCK), (0, 0)]
    blocks = jnp.pad(pixels, pad, mode="edge").reshape(-1, _BLOCK, (height + pad[1][1]) // _BLOCK,
                                                       _BLOCK, channels)  # fmt: skip
    k, n = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)[None, :]
    cosines = np.sqrt(2 / _BLOCK) * np.cos(np.pi * (n + 0.5) * k / _BLOCK)
    cosines[0] /= np.sqrt(2)
    basis = jnp.asarray(cosines, jnp.float32)
    found = jnp.einsum("kn,anbmc,lm->akblc", basis, blocks, basis)
    steps = step * (1 + k + n)[None, :, None, :, None]
    found = jnp.rint(found / steps) * steps
    blocks = jnp.einsum("kn,akblc,lm->anbmc", basis, found, basis)
    return blocks.reshape(width + pad[0][1], height + pad[1][1], channels)[:width, :height]
