"""Loads the images of a run: from a folder, from the generator, or from both.

folder      the images in data.dir
synthetic   data.count generated images of data.style, split like a folder
stream      an endless stream of generated images, with data.count new ones per epoch
mixture     the folder, with generated images added to its training part
auto        the folder; if the default folder is missing, synthetic
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from crnn_jax import bidi
from crnn_jax.charset import PAD, Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import fitting, image_io, split_report, splits, text_lengths
from crnn_jax.data import folder as dataset
from crnn_jax.data.folder import Dataset
from crnn_jax.data.splits import Split
from crnn_jax.data.synthetic import render
from crnn_jax.data.synthetic.look import Look
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import ConfigError, DataError, one_line

Draw = Callable[[np.ndarray], tuple[jax.Array, jax.Array]]
MAX_BYTES = 2**33  # of pixels in a generated set
STREAM_SAMPLE = 4096  # training images of a stream that are kept, to fit the normalization


class Source(NamedTuple):
    data: Dataset  # for a stream: its validation part and the first images of its training part
    split: Split
    charset: Charset
    endless: bool  # whether the source is a stream

    @property
    def sample(self) -> np.ndarray:
        """The numbers of the training images in memory: all of them, unless the source is a stream.

        They include images without labels.
        """
        numbers = np.concatenate((self.split.train, self.split.unlabeled))
        return numbers[numbers < len(self.data)]


def load(config: DataConfig, num_steps: int) -> Source:
    """Reads or generates the data that a config names, and splits them.

    Args:
      config: the data section, with a resolved source (see `resolve.resolve`).
      num_steps: T, the time steps of the model, into which each label must fit.

    Raises:
      DataError: see `folder.load`; or a generated text can need more than `num_steps` steps.
      ConfigError: the style is invalid, or has symbols that are not in data.alphabet.
    """
    direction = config.direction
    given = Charset(config.alphabet, direction) if config.alphabet else None
    if config.source in ("folder", "auto"):
        data = dataset.load(config, given, num_steps)
        split = split_report.split(data, config)
        charset = given or Charset.derive(known_texts(data, split, config), direction)
        if config.complete_alphabet and not given:
            charset = charset.completed()
        if config.unlabeled not in ("", splits.REST):
            data, split = _with_unlabeled(data, split, config)
        if len(split.unlabeled):  # nothing may look at the labels of unlabeled images
            hidden = set(split.unlabeled.tolist())
            texts = ("" if i in hidden else text for i, text in enumerate(data.texts))
            data = dataclasses.replace(data, texts=tuple(texts))
        return Source(data, split, charset, False)
    look = family.load(config.style)
    symbols = config.folding(look.alphabet)
    _check(look, config, num_steps)
    if config.source == "mixture":
        real = dataset.load(config, given, num_steps)
        split = split_report.split(real, config)
        share = config.generated_share
        num_extra = max(1, round(len(split.train) * share / (1 - share)))
        extra = generate(look, config, range(num_extra))
        added = np.arange(len(real), len(real) + len(extra), dtype=np.int32)
        data = dataclasses.replace(_joined(real, extra), num_generated=len(extra))
        charset = given or Charset.derive((*known_texts(real, split, config), symbols), direction)
        return Source(data, split._replace(train=np.concatenate((split.train, added))), charset,
                      False)  # fmt: skip
    charset = given or Charset.derive(symbols, direction)
    endless = config.source == "stream"
    if not endless:
        data = generate(look, config, range(config.count))
        return Source(data, splits.split(data.texts, config), charset, endless)
    num_val = max(1, int(config.count * config.val_fraction))
    numbers = np.arange(config.count, dtype=np.int32)
    data = dataclasses.replace(
        generate(look, config, range(min(config.count, num_val + STREAM_SAMPLE))),
        name=f"an endless stream of generated {_name(config)}",
        fingerprint=fingerprint(look, config, config.count),
    )
    return Source(data, Split(numbers[num_val:], numbers[:num_val]), charset, endless)


def known_texts(data: Dataset, split: Split, config: DataConfig) -> list[str]:
    """Returns the labels that an alphabet is derived from.

    With a test part, these are the labels of the training images: if a run uses N labels, its
    alphabet comes from those N labels alone. Without a test part they are all labels of the folder,
    unless some are not used.
    """
    if not len(split.test) and config.use_labels and config.unlabeled != splits.REST:
        return list(data.texts)
    return [data.texts[i] for i in split.train.tolist()]


def _with_unlabeled(data: Dataset, split: Split, config: DataConfig) -> tuple[Dataset, Split]:
    """Adds the images of the folder data.unlabeled, except those that `data` already has."""
    section = dataclasses.replace(
        config, dir=config.unlabeled, use_labels=False, test_size=0, unlabeled="", val_dir=""
    )
    if not Path(config.unlabeled).is_dir():
        raise DataError(f"data.unlabeled: {one_line(config.unlabeled)} is not a folder")
    extra = dataset.load(section, None, 0)
    known = {image.tobytes() for image in data.images}
    new = [i for i, image in enumerate(extra.images) if image.tobytes() not in known]
    if not new:
        raise DataError(
            f"data.unlabeled: all images of {config.unlabeled} are in {config.dir} too; name a "
            "folder of others"
        )
    added = np.arange(len(data), len(data) + len(new), dtype=np.int32)
    chosen = dataclasses.replace(
        extra,
        files=tuple(extra.files[i] for i in new),
        labels=("",) * len(new),
        texts=("",) * len(new),
        images=extra.images[new],
    )
    unlabeled = np.concatenate((split.unlabeled, added))
    return _joined(data, chosen), split._replace(unlabeled=unlabeled)


def _check(look: Look, config: DataConfig, num_steps: int) -> None:
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
      ConfigError: the images need too much memory, or one is blank.
    """
    shape = (len(numbers), config.width, config.height, config.channels)
    if (size := math.prod(shape)) > MAX_BYTES:
        raise ConfigError(
            f"{len(numbers)} images of {config.width}x{config.height} need {size / 2**30:.0f} "
            f"GiB of memory (at most {MAX_BYTES // 2**30}); lower data.count or "
            "data.generated_share, or use data.source=stream"
        )
    images = np.empty(shape, np.uint8)
    as_typed = bidi.logical if config.direction == bidi.RIGHT_TO_LEFT else str
    found: list[str] = []
    for pixels, labels in drawn(look, drawer(look, config), numbers):
        images[len(found) : len(found) + len(labels)] = pixels
        found += labels
    return Dataset(
        name=f"{len(found)} generated {_name(config)}",
        files=tuple(f"{i:06d}" for i in numbers),
        labels=tuple(found),
        texts=tuple(map(as_typed, map(config.folding, found))),
        images=images,
        fingerprint=fingerprint(look, config, len(found)),
    )


def image(config: DataConfig, folder: str | os.PathLike[str] | None, file: str) -> Image.Image:
    """Opens the image that an evaluation calls `file`.

    Args:
      config: the data section of the run.
      folder: the folder that was evaluated; None for the data of `config`.
      file: the file name in the folder, or the number of a generated image.
    """
    if folder is not None or dataset.uses_folder(config):
        if folder is not None:
            config = dataclasses.replace(config, dir=os.fspath(folder), val_dir="")
        return image_io.flatten(image_io.open_image(dataset.source_of(config, file), config.frame))
    number, look = int(file), family.load(config.style)
    data = generate(look, as_drawn(config, look), range(number, number + 1))
    return to_image(data.images[0])


def as_drawn(config: DataConfig, look: Look) -> DataConfig:
    """Returns a config for images that a reader of `config` will crop itself, if it crops."""
    if not config.crop:
        return config
    return dataclasses.replace(config, crop=False, width=look.width, height=look.height)


def to_image(image: np.ndarray) -> Image.Image:
    """Converts u8 [W, H, C] to a Pillow image."""
    upright = image.swapaxes(0, 1)
    return Image.fromarray(upright[..., 0] if image.shape[-1] == 1 else upright)


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
    native = look.drawer()  # in the size of the look

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

    Their pixels are not part of it, because they can differ by a rounding between machines.
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


def expected_fingerprint(config: DataConfig, num_steps: int) -> str | None:
    """Returns the fingerprint of a config's data; None if its folder is missing."""
    if config.source in ("synthetic", "stream"):
        return fingerprint(family.load(config.style), config, config.count)
    folders = [config.dir, *({config.unlabeled, config.val_dir} - {"", splits.REST})]
    if not all(Path(folder).is_dir() for folder in folders):
        return None
    return load(config, num_steps).data.fingerprint


def _name(config: DataConfig) -> str:
    return f"{Path(config.style).stem} images (seed {config.synthetic_seed})"


def _joined(real: Dataset, extra: Dataset) -> Dataset:
    both = hashlib.sha256((real.fingerprint + extra.fingerprint).encode()).hexdigest()
    return Dataset(
        name=f"{real.name} and {extra.name}",
        files=real.files + extra.files,
        labels=real.labels + extra.labels,
        texts=real.texts + extra.texts,
        images=np.concatenate((real.images, extra.images)),
        fingerprint=both,
        parts=real.parts and real.parts + ("",) * len(extra),
        origin=real.origin,
        notes=real.notes + extra.notes,
        warnings=real.warnings + extra.warnings,
    )
