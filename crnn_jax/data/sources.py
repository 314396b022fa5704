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
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import (
    folder,
    folder_advice,
    generated,
    image_io,
    memory,
    on_disk,
    packed,
    split_report,
    splits,
)
from crnn_jax.data.feed import Records
from crnn_jax.data.folder import Dataset, source_of, uses_folder
from crnn_jax.data.on_disk import SAMPLE
from crnn_jax.data.splits import Split
from crnn_jax.data.synthetic.look import Look
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import DataError, one_line


class Source(NamedTuple):
    """The images of a run, with their split and their symbols."""

    data: Dataset  # for a stream: its validation part and the first images of its training part
    split: Split
    charset: Charset
    endless: bool  # whether the source is a stream
    is_sampled: bool = False  # whether a sample decides the normalization
    records: Records | None = None  # the images of a pack that is larger than the memory

    @property
    def sample(self) -> np.ndarray:
        """The numbers of the training images that decide the normalization, all in memory.

        These are all training images, also unlabeled ones; of a stream or a pack, the first SAMPLE.
        """
        numbers = np.concatenate((self.split.train, self.split.unlabeled))
        numbers = numbers[numbers < len(self.data.images)]
        return numbers[:SAMPLE] if self.is_sampled else numbers


def load(config: DataConfig, num_steps: int) -> Source:
    """Reads or generates the data that a config names, and splits them.

    Args:
      config: the data section, with a resolved source (see `resolve.resolve`).
      num_steps: T, the time steps of the model, into which each label must fit.

    Raises:
      DataError: see `folder.load`; or a generated text can need more than `num_steps` steps.
      ConfigError: the style is invalid, or has symbols that are not in data.alphabet.
    """
    if uses_folder(config):
        folder_advice.check_for_training(Path(config.dir))
    if config.source in ("folder", "auto"):
        return _folder(config, num_steps)
    look = family.load(config.style)
    generated.check(look, config, num_steps)
    if config.source == "mixture":
        return _mixture(config, num_steps, look)
    charset = _given(config) or _derived(config.folding(look.alphabet), config)
    if config.source == "stream":
        return _stream(config, look, charset)
    data = generated.generate(look, config, range(config.count))
    return Source(data, splits.split(data.texts, config), charset, False)


def _folder(config: DataConfig, num_steps: int) -> Source:
    given = _given(config)
    is_pack, records = packed.is_pack(config.dir), None
    if on_disk.is_needed(config):
        data, split, records = on_disk.load(config, given, num_steps)
    else:
        data = folder.load(config, given, num_steps)
        split = split_report.split(data, config)
    charset = given or _of_labels(known_texts(data, split, config), config)
    if config.unlabeled not in ("", splits.REST):
        data, split = _with_unlabeled(data, split, config)
    if len(split.unlabeled):  # nothing may look at the labels of unlabeled images
        hidden = set(split.unlabeled.tolist())
        texts = ("" if i in hidden else text for i, text in enumerate(data.texts))
        data = dataclasses.replace(data, texts=tuple(texts))
    return Source(data, split, charset, False, is_pack, records)


def _mixture(config: DataConfig, num_steps: int, look: Look) -> Source:
    given = _given(config)
    real = folder.load(config, given, num_steps)
    split = split_report.split(real, config)
    share = config.generated_share
    num_extra = max(1, round(len(split.train) * share / (1 - share)))
    total = len(real) + num_extra
    memory.check(config, total, f"{total} images of a mixture", "lower data.generated_share")
    extra = generated.generate(look, config, range(num_extra))
    added = np.arange(len(real), total, dtype=np.int32)
    data = dataclasses.replace(_joined(real, extra), num_generated=num_extra)
    texts = known_texts(real, split, config)
    charset = given or _of_labels([*texts, config.folding(look.alphabet)], config)
    split = split._replace(train=np.concatenate((split.train, added)))
    return Source(data, split, charset, False)


def _stream(config: DataConfig, look: Look, charset: Charset) -> Source:
    num_val = max(1, int(config.count * config.val_fraction))
    numbers = np.arange(config.count, dtype=np.int32)
    data = dataclasses.replace(
        generated.generate(look, config, range(min(config.count, num_val + SAMPLE))),
        name=f"an endless stream of generated {generated.name(config)}",
        fingerprint=generated.fingerprint(look, config, config.count),
    )
    return Source(data, Split(numbers[num_val:], numbers[:num_val]), charset, True)


def _given(config: DataConfig) -> Charset | None:
    """Returns data.alphabet; None if it is derived from the labels."""
    if not config.alphabet:
        return None
    return Charset(config.alphabet, config.direction, config.marks)


def _derived(texts: Iterable[str], config: DataConfig) -> Charset:
    return Charset.derive(texts, config.direction, config.marks)


def _of_labels(texts: Iterable[str], config: DataConfig) -> Charset:
    charset = _derived(texts, config)
    return charset.completed() if config.complete_alphabet else charset


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
        what = f"data.unlabeled: {one_line(config.unlabeled)} is not a folder"
        raise DataError(what + folder_advice.hint(Path(config.unlabeled)))
    extra = folder.load(section, None, 0)
    known = {_digest(image) for image in data.images}
    new = [i for i, image in enumerate(extra.images) if _digest(image) not in known]
    if not new:
        raise DataError(
            f"data.unlabeled: all images of {config.unlabeled} are also in {config.dir}; name a "
            "folder with other images"
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


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def image(config: DataConfig, folder: str | os.PathLike[str] | None, file: str) -> Image.Image:
    """Opens the image that an evaluation calls `file`.

    Args:
      config: the data section of the run.
      folder: the folder that was evaluated; None for the data of `config`.
      file: the file name in the folder, or the number of a generated image.
    """
    if folder is not None or uses_folder(config):
        if folder is not None:
            config = dataclasses.replace(config, dir=os.fspath(folder), val_dir="")
        return image_io.flatten(image_io.open_image(source_of(config, file), config.frame))
    number, look = int(file), family.load(config.style)
    data = generated.generate(look, generated.as_drawn(config, look), range(number, number + 1))
    return generated.to_image(data.images[0])


def expected_fingerprint(config: DataConfig, num_steps: int) -> str | None:
    """Returns the fingerprint of a config's data; None if its folder is missing."""
    if config.source in ("synthetic", "stream"):
        return generated.fingerprint(family.load(config.style), config, config.count)
    folders = [config.dir, *({config.unlabeled, config.val_dir} - {"", splits.REST})]
    if not all(Path(folder).is_dir() for folder in folders):
        return None
    return load(config, num_steps).data.fingerprint


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
