"""Measures the aspect ratios of images, as the model gets them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from crnn_jax import clusters
from crnn_jax.config import DataConfig
from crnn_jax.data import folder, image_io
from crnn_jax.data.folder import Dataset
from crnn_jax.data.splits import Split
from crnn_jax.errors import DataError

_MEASURED = 64  # images of a folder
_UPRIGHT = 0.75  # two or more characters beside each other are wider


def median(config: DataConfig, files: Sequence[str]) -> float:
    """Returns the median of width / height, after data.crop, of at most 64 images; 0 without any.

    Args:
      config: the data section; images that cannot be read are skipped.
      files: names of images, as in `folder.source_of`.
    """
    places = np.unique(np.linspace(0, max(len(files) - 1, 0), _MEASURED).astype(int))
    aspects = []
    for file in [files[place] for place in places] if files else ():
        try:
            path = folder.source_of(config, file)
            image = image_io.flatten(image_io.open_image(path, config.frame))
        except (DataError, ValueError):
            continue  # loading the folder reports it
        left, top, right, bottom = image_io.box(image, config.crop)
        aspects.append((right - left) / (bottom - top))
    return statistics.median(aspects) if aspects else 0.0


def notes(data: Dataset, parts: Split, config: DataConfig) -> list[str]:
    """Warns if the training images seem to have their characters below each other.

    Args:
      data: a data set. Images of a pack that is read from the disk are not measured.
      parts: its parts.
      config: the data section.
    """
    if len(data.images) < len(data):
        return []
    real = len(data) - data.num_generated
    train = [i for i in parts.train.tolist() if i < real and data.texts[i]]
    lengths = [len(clusters.split(data.texts[i], config.marks)) for i in train]
    if not lengths or statistics.median(lengths) < 2:
        return []
    aspect = median(config, [data.files[i] for i in train])
    if not 0 < aspect < _UPRIGHT:
        return []
    return [
        f"most images are higher than wide (the median of width / height is {aspect:.2f}), but "
        "only a horizontal line of text can be read: rotate the images, or put the characters side "
        "by side"
    ]
