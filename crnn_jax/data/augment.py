"""Random distortions of images on the device: a pure function of (keys, pixels, strengths).

Each image draws its own value from a range that ends at the strength. A strength of 0 turns the
distortion off, at no cost. No distortion mirrors an image, because text has a direction.
"""

from __future__ import annotations

import functools
import zlib

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float, Key, Real

from crnn_jax.config import AugmentConfig

_NUDGE = 2.0**-10  # pixels


def augment(
    keys: Key[Array, " B"], images: Real[Array, "B W H C"], config: AugmentConfig
) -> Float[Array, "B W H C"]:
    """Distorts pixels of 0 to 255, each image by its key.

    The result for an image does not depend on the others in its batch.
    """
    x = images.astype(jnp.float32)
    if config.thickness:
        x = _thickness(_draw(keys, "thickness", config.thickness), x)
    if any((config.shift, config.rotate, config.scale, config.shear, config.ripple)):
        x = _sample(x, *_source_points(keys, x, config))
    if config.lines:
        x = _lines(keys, x, config.lines)
    if config.blur:
        x = _blend(x, _box(x), jnp.abs(_draw(keys, "blur", config.blur)))
    if config.contrast:
        mean = x.mean((1, 2, 3), keepdims=True)
        x = mean + (x - mean) * (1 + _draw(keys, "contrast", config.contrast))
    if config.brightness:
        x = x + 255 * _draw(keys, "brightness", config.brightness)
    if config.noise:
        std = 255 * jnp.abs(_draw(keys, "noise", config.noise))

        def grain(key: Array) -> Array:
            return jax.random.normal(_stream(key, "grain"), x.shape[1:])

        x = x + std * jax.vmap(grain)(keys)
    return jnp.clip(x, 0, 255)


def _stream(key: Array, name: str) -> Array:
    # By name, so that one distortion's draws do not depend on which others are on.
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _uniform(keys: Array, name: str, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Draws an array of `shape`, uniform in [low, high), for each key: [B, *shape]."""

    def draw(key: Array) -> Array:
        return jax.random.uniform(_stream(key, name), shape, minval=low, maxval=high)

    return jax.vmap(draw)(keys)


def _draw(keys: Array, name: str, strength: float) -> Array:
    """Draws one number, uniform in [-strength, strength), for each image: [B, 1, 1, 1]."""
    return strength * _uniform(keys, name, (1, 1, 1), -1, 1)


# ------------------------------------------------------------------------------ geometry


def _source_points(keys: Array, x: Array, config: AugmentConfig) -> tuple[Array, Array]:
    """Returns the source of each pixel of the result: columns and rows, [B, W, H] each.

    Lengths are relative to the image's height, so that a strength means the same in every format.
    shift moves the image, scale stretches each axis by itself, shear slants (offset along the width
    per height), ripple adds a sine of random wavelength and phase along either axis.
    """
    _, width, height, _ = x.shape

    def draw(name: str, strength: float) -> Array:
        return _draw(keys, name, strength)[..., 0]  # [B, 1, 1]

    u = (jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2)[None, :, None] / height
    v = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2)[None, None, :] / height
    angle = draw("rotate", config.rotate) * (jnp.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    s = (cos * u - sin * v) / (1 + draw("scale_u", config.scale))
    t = (sin * u + cos * v) / (1 + draw("scale_v", config.scale))
    s = s + draw("shear", config.shear) * t + draw("shift_u", config.shift)
    t = t + draw("shift_v", config.shift)
    if config.ripple:
        # A wavelength is 0.6 to 3 heights, with a median of one.
        wave_u, wave_v = (jnp.pi * (2 + draw(f"wave_{a}", 1) * 4 / 3) for a in "uv")
        phase_u, phase_v = (draw(f"phase_{a}", 1) * jnp.pi for a in "uv")
        s, t = (
            s + draw("ripple_u", config.ripple) * jnp.sin(wave_u * t + phase_u),
            t + draw("ripple_v", config.ripple) * jnp.sin(wave_v * s + phase_v),
        )
    return s * height + (width - 1) / 2, t * height + (height - 1) / 2


def _sample(x: Array, columns: Array, rows: Array) -> Array:
    """Interpolates [B, W, H, C] at [B, W, H] bilinearly; the edge repeats."""
    # XLA may compute a place twice, once for the pixel and once for its weight, and round the two
    # differently at integers, which are common here. A thousandth of a pixel prevents this.
    columns, rows = columns + _NUDGE, rows + _NUDGE

    def plane(pixels: Array, at: tuple[Array, Array]) -> Array:
        sampled: Array = map_coordinates(pixels, at, order=1, mode="nearest")
        return sampled

    over_channels = jax.vmap(plane, in_axes=(-1, None), out_axes=-1)
    return jax.vmap(over_channels)(x, (columns, rows))


# -------------------------------------------------------------------------------- strokes


def _neighbors(x: Array, axis: int) -> list[Array]:
    """Returns each pixel's predecessor, the pixel and its successor along an axis; edges repeat."""
    size = x.shape[axis]
    widths = [(0, 0)] * x.ndim
    widths[axis] = (1, 1)
    padded = jnp.pad(x, widths, mode="edge")
    return [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]


def _box(x: Array) -> Array:
    """Returns the mean over 3x3 pixels."""
    for axis in (1, 2):
        x = functools.reduce(jnp.add, _neighbors(x, axis)) / 3
    return x


def _thickness(amount: Array, x: Array) -> Array:
    """Blends with the darkest (amount > 0) or lightest of 3x3: dark strokes grow or shrink."""
    dark = light = x
    for axis in (1, 2):
        dark = functools.reduce(jnp.minimum, _neighbors(dark, axis))
        light = functools.reduce(jnp.maximum, _neighbors(light, axis))
    return _blend(x, jnp.where(amount > 0, dark, light), jnp.abs(amount))


def _blend(a: Array, b: Array, share: Array) -> Array:
    return a + share * (b - a)


def _lines(keys: Array, x: Array, count: int) -> Array:
    """Draws up to `count` straight lines, one to two pixels wide, from edge to edge, any gray."""
    _, width, height, _ = x.shape
    column = jnp.linspace(0, 1, width)[None, None, :, None]  # broadcast to [B, lines, W, H]
    row = jnp.arange(height, dtype=jnp.float32)[None, None, None, :]

    def draw(name: str, low: float, high: float) -> Array:
        return _uniform(keys, name, (count, 1, 1), low, high)

    left, right = draw("left", -0.5, 1.5) * height, draw("right", -0.5, 1.5) * height
    slope = (right - left) / width
    # The distance perpendicular to the line, so that a steep line is no wider.
    distance = jnp.abs(row - left - (right - left) * column) / jnp.sqrt(1 + slope**2)
    cover = jnp.clip(draw("width", 0.5, 1.0) + 0.5 - distance, 0, 1)  # antialiased
    cover = cover * (draw("present", 0, 1) < 0.5)
    gray = draw("grey", 0, 255)
    for i in range(count):
        x = _blend(x, gray[:, i, :, :, None], cover[:, i, :, :, None])
    return x
