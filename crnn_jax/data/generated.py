"""Images of the generator as a data set or as a stream of batches.

An image is identified by its number: image n of a style and seed is always the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from crnn_jax import bidi
from crnn_jax.charset import PAD, Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import fitting, memory, text_lengths
from crnn_jax.data.folder import Dataset
from crnn_jax.data.synthetic import render
from crnn_jax.data.synthetic.look import Look
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import ConfigError, DataError

Draw = Callable[[np.ndarray], tuple[jax.Array, jax.Array]]
_FEWER = "lower data.count or data.generated_share, or use data.source=stream"


def check(look: Look, config: DataConfig, num_steps: int) -> None:
    """Checks that a style suits a config and a model with `num_steps` time steps.

    Raises:
      ConfigError: data.alphabet lacks symbols of the style, or lengths differ from data.length.
      DataError: a text can need more time steps than the model has.
    """
    text_lengths.check_style(look.length, config)
    symbols = set(config.folding(look.alphabet))
    if config.alphabet and (unknown := symbols - set(config.alphabet)):
        mapped = "" if symbols == set(look.alphabet) else " after data.case and data.merge"
        raise ConfigError(
            f"data.alphabet lacks {''.join(sorted(unknown))!r} of the style {config.style}{mapped}"
        )
    most = 2 * look.length[1] - 1  # a blank between equal neighbors
    if most > num_steps:
        raise DataError(
            f"a text of the style {config.style} can need {most} time steps and the model has "
            f"{num_steps}; increase data.width"
        )


def generate(look: Look, config: DataConfig, numbers: range) -> Dataset:
    """Generates a data set of images, with the size and channels of a config.

    Args:
      look: the style.
      config: the data section.
      numbers: the numbers of the images in the sequence of `config.synthetic_seed`.

    Raises:
      ConfigError: an image is blank.
      DataError: the images need more memory than data.memory_limit.
    """
    memory.check(config, len(numbers), f"{len(numbers)} generated images", _FEWER)
    shape = (len(numbers), config.width, config.height, config.channels)
    images = np.empty(shape, np.uint8)
    as_typed = bidi.logical if config.direction == bidi.RIGHT_TO_LEFT else str
    found: list[str] = []
    for pixels, labels in drawn(look, drawer(look, config), numbers):
        images[len(found) : len(found) + len(labels)] = pixels
        found += labels
    return Dataset(
        name=f"{len(found)} generated {name(config)}",
        files=tuple(f"{i:06d}" for i in numbers),
        labels=tuple(found),
        texts=tuple(map(as_typed, map(config.folding, found))),
        images=images,
        fingerprint=fingerprint(look, config, len(found)),
    )


def drawn(look: Look, draw: Draw, numbers: range) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yields chunks of images u8 [n, W, H, C] and texts. ConfigError if an image is blank."""
    chunk = look.chunk
    for start in range(0, len(numbers), chunk):
        part = np.array(numbers[start : start + chunk], np.int32)
        padded = np.resize(part, chunk)  # so that all chunks use one program
        pixels, ids = jax.device_get(draw(padded))
        rows = ids[: len(part)].tolist()
        texts = ["".join(look.alphabet[i] for i in row if i != PAD) for row in rows]
        flat = pixels[: len(part)].reshape(len(part), -1)
        if len(blank := np.flatnonzero(flat.min(1) == flat.max(1))):
            raise ConfigError(
                f"image {part[blank[0]]} of the style is blank: its text {texts[blank[0]]!r} is "
                "not visible; check ink, paper, weight, left, baseline and the waves"
            )
        yield pixels[: len(part)], texts


def drawer(look: Look, config: DataConfig) -> Draw:
    """Returns a function from numbers i32 [B] to images u8 [B, W, H, C] and labels i32 [B, L].

    Labels are indices into the alphabet of the style.
    """
    native = look.drawer()  # draws in the size of the look

    def draw(numbers: np.ndarray) -> tuple[jax.Array, jax.Array]:
        pixels, ids = native(config.synthetic_seed, numbers)
        size = config.width, config.height
        return fitting.fitted(pixels, size, config.channels, config.crop), ids

    return draw


def stream(config: DataConfig, charset: Charset) -> Draw:
    """Like `drawer`, but the labels are class ids of a charset."""
    look = family.load(config.style)
    draw, symbols = drawer(look, config), config.folding(look.alphabet)
    ids = jnp.array([*(charset.ids[s] for s in symbols), PAD])  # PAD is -1

    def batch(numbers: np.ndarray) -> tuple[jax.Array, jax.Array]:
        pixels, labels = draw(numbers)
        return pixels, ids[labels]

    return batch


def fingerprint(look: Look, config: DataConfig, count: int) -> str:
    """The sha256 of everything that determines the generated images.

    Pixels are not part of it, because they can differ by rounding between machines.
    """
    recipe = {
        "version": render.VERSION,
        "style": look.describe(),
        "seed": config.synthetic_seed,
        "count": count,
        "size": (config.width, config.height, config.channels),
        **({"crop": True} if config.crop else {}),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def as_drawn(config: DataConfig, look: Look) -> DataConfig:
    """Returns `config` for drawing images: uncropped in the look's size if its reader crops."""
    if not config.crop:
        return config
    return dataclasses.replace(config, crop=False, width=look.width, height=look.height)


def to_image(image: np.ndarray) -> Image.Image:
    """Converts u8 [W, H, C] to a Pillow image."""
    upright = image.swapaxes(0, 1)
    return Image.fromarray(upright[..., 0] if image.shape[-1] == 1 else upright)


def name(config: DataConfig) -> str:
    """Describes the generated images in a few words."""
    return f"{Path(config.style).stem} images (seed {config.synthetic_seed})"
