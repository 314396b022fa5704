"""A sheet of a few training images with their augmented versions."""

from __future__ import annotations

import functools

import jax
import numpy as np
from jax import Array
from PIL import Image

from crnn_jax.config import AugmentConfig
from crnn_jax.data.augment import augment
from crnn_jax.runtime import program_store
from crnn_jax.training.context import TrainContext

_IMAGES, _COPIES, _GAP = 6, 4, 4


@functools.partial(program_store.jit, static_argnames=("config",))
def _augmented(keys: Array, images: Array, *, config: AugmentConfig) -> Array:
    return augment(keys, images, config)


def sheet(context: TrainContext) -> Image.Image:
    """Draws a row for each of six training images: the original, then four augmented versions."""
    chosen = np.concatenate((context.split.train, context.split.unlabeled))[:_IMAGES]
    images = context.data.images[chosen]  # u8 [n, W, H, C]
    rows = np.repeat(images, _COPIES + 1, axis=0)
    keys = jax.random.split(jax.random.key(0), len(rows))
    distorted = _augmented(keys, rows, config=context.config.augment)
    tiles = np.where(np.arange(len(rows))[:, None, None, None] % (_COPIES + 1), distorted, rows)
    tiles = tiles.round().astype(np.uint8).swapaxes(1, 2)  # [n, H, W, C]
    _, height, width, channels = tiles.shape
    step_x, step_y = width + _GAP, height + _GAP
    mode = "L" if channels == 1 else "RGB"
    result = Image.new(mode, ((_COPIES + 1) * step_x, len(images) * step_y), "white")
    for i, tile in enumerate(tiles.squeeze(-1) if channels == 1 else tiles):
        row, column = divmod(i, _COPIES + 1)
        result.paste(Image.fromarray(tile), (column * step_x, row * step_y))
    return result
