"""Converts generated images to the size and channels of a config, on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from crnn_jax.data.crop import content_box


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def fitted(pixels: jax.Array, size: tuple[int, int], channels: int, is_cropped: bool) -> jax.Array:
    """Crops and resizes u8 [B, W, H, C] and converts it to gray (ITU-R 601) or RGB."""
    if pixels.shape[1:3] == size and pixels.shape[-1] == channels and not is_cropped:
        return pixels
    if is_cropped:
        x = jax.vmap(lambda image: cropped(image, size))(pixels)
    else:
        x = pixels.astype(jnp.float32)
    if channels == 1 and pixels.shape[-1] == 3:
        luma = jnp.array([0.299, 0.587, 0.114]).reshape(1, 1, 1, 3)
        x = jnp.sum(x * luma, axis=-1, keepdims=True)
    x = jnp.broadcast_to(x, (*x.shape[:3], channels))
    if x.shape[1:3] != size:
        x = jax.image.resize(x, (len(x), *size, channels), "linear")
    return jnp.clip(jnp.rint(x), 0, 255).astype(jnp.uint8)


def cropped(image: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Crops an image u8 [W, H, C] to its text and resizes it with antialiasing: f32 [*size, C]."""
    left, top, right, bottom = content_box(image, jnp)
    scale = jnp.array(size) / jnp.stack((right - left, bottom - top))
    resized: jax.Array = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*size, image.shape[-1]),
        (0, 1),
        scale,
        -scale * jnp.stack((left, top)),
        "linear",
    )
    return resized
