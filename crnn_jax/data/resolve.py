"""Resolves what a config leaves to the data: its source, and the width of the input.

The width follows from the aspect ratio of the images, or of their text if they are cropped, because
the strokes of ten letters on the width of five are too close to tell apart.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import numpy as np

from crnn_jax.config import DEFAULT_DIR, Config, DataConfig
from crnn_jax.data import folder, image_io, listing, splits
from crnn_jax.errors import DataError

AUTO = 0  # value of data.width
_MEASURED = 64  # images of a folder
_STRETCH = 1.3  # letters of a captcha are often narrow or overlap
_TIMES = (3, 4, 6)  # widths / height; few, because a program is compiled for each


def resolve(config: Config) -> Config:
    """Resolves data.source 'auto' and data.width 0.

    The source becomes 'synthetic' if the default folder is missing, else 'folder'. The width is the
    `fitting_width` of the median aspect ratio of the training images.

    Raises:
      DataError: the folder is missing, or its images or labels cannot be used.
    """
    data = config.data
    if data.source == "auto":
        absent = data.dir == DEFAULT_DIR and not Path(DEFAULT_DIR).exists()
        if absent and (data.unlabeled or not data.use_labels):
            folder.check_folder(Path(data.dir))  # raises
        data = dataclasses.replace(data, source="synthetic" if absent else "folder")
    if data.width == AUTO:
        data = dataclasses.replace(data, width=_width(data))
    return dataclasses.replace(config, data=data)


def fitting_width(aspect: float, height: int) -> int:
    """Returns the width of the input for a text: 3, 4 or 6 times the height.

    Args:
      aspect: width / height of the image or of its cropped part.
      height: of the input, in pixels.
    """
    wanted = round(_STRETCH * aspect)
    return height * next((times for times in _TIMES if times >= wanted), _TIMES[-1])


def widths(height: int) -> tuple[int, ...]:
    """Returns all values of `fitting_width`."""
    return tuple(height * times for times in _TIMES)


def _width(data: DataConfig) -> int:
    if not folder.uses_folder(data):
        return fitting_width(_TIMES[0], data.height)
    aspects = []
    for file in _sample(data):
        try:
            path = folder.source_of(data, file)
            image = image_io.flatten(image_io.open_image(path, data.frame))
        except (DataError, ValueError):
            continue  # loading the folder reports it
        left, top, right, bottom = image_io.box(image, data.crop)
        aspects.append((right - left) / (bottom - top))
    return fitting_width(statistics.median(aspects) if aspects else _TIMES[0], data.height)


def _sample(data: DataConfig) -> list[str]:
    """Returns at most 64 image files of a folder, none of them of the test part."""
    found = listing.checked(data)
    listed = list(found.labels)
    kept = np.arange(len(listed))
    if data.use_labels or data.test_size:
        parts = [found.parts.get(file, "") for file in listed]
        texts = [data.folding(text) for text in found.labels.values()]
        # Only the test part is needed, and these keys do not change it.
        section = dataclasses.replace(data, val_fraction=0.0, num_folds=0, train_size=0, fold=0)
        kept = np.setdiff1d(kept, splits.split(texts, section, parts).test)
    places = np.unique(np.linspace(0, max(len(kept) - 1, 0), _MEASURED).astype(int))
    return [listed[kept[place]] for place in places] if len(kept) else []
