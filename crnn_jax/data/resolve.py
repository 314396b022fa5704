"""Resolves what a config leaves to the data: source, width, direction and length of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.clusters import split
from crnn_jax.config import DEFAULT_DIR, Config, DataConfig, limits
from crnn_jax.config.data_keys import AUTO, BY_LABELS, LABELS
from crnn_jax.data import (
    aspects,
    direction,
    folder,
    folder_advice,
    input_width,
    listing,
    splits,
    text_lengths,
)
from crnn_jax.data.label_rows import Listing

# Values of the keys that divide the images outside the test part.
_SPLIT: Mapping[str, Any] = {"val_fraction": 0.0, "num_folds": 0, "fold": 0, "train_size": 0,
                             "split_seed": 0, "unlabeled": ""}  # fmt: skip


class Known:
    """A cache of facts about folders, so that a sweep lists and measures each folder once."""

    def __init__(self) -> None:
        self.widths: dict[DataConfig, int] = {}
        self._listings: dict[tuple[Any, ...], Listing] = {}

    def listing(self, data: DataConfig) -> Listing:
        """Returns `listing.checked(data)`."""
        key = data.dir, data.val_dir, data.label_pattern, data.use_labels, data.test_size > 0
        if key not in self._listings:
            folder_advice.check_for_training(Path(data.dir))
            self._listings[key] = listing.checked(data)
        return self._listings[key]


def resolve(config: Config, known: Known | None = None) -> Config:
    """Resolves data.source and data.direction 'auto', data.width 0 and data.length 'labels'.

    The source becomes 'synthetic' if the default folder is missing, else 'folder'. The width fits
    the median aspect ratio of the training images. The length fits the labels of the training part;
    without a folder or without labels, it becomes '' (any length). For the direction see
    `direction.of`.

    Args:
      config: the config.
      known: a cache that is shared between configs.

    Raises:
      DataError: the folder is missing, or its images or labels cannot be used.
      ConfigError: the config is invalid with the width that fits.
    """
    data, known = config.data, known or Known()
    if data.source == "auto":
        absent = data.dir == DEFAULT_DIR and not Path(DEFAULT_DIR).exists()
        if absent and (data.unlabeled or not data.use_labels):
            folder_advice.check_for_training(Path(data.dir))  # raises
        data = dataclasses.replace(data, source="synthetic" if absent else "folder")
    if data.width == AUTO:
        # The training images are all those outside the test part, whatever the split.
        key = dataclasses.replace(data, **_SPLIT)
        if key not in known.widths:
            known.widths[key] = _width(key, known)
        data = dataclasses.replace(data, width=known.widths[key])
    if data.direction == BY_LABELS:
        data = dataclasses.replace(data, direction=direction.of(data, known.listing))
    if data.length == LABELS:
        data = dataclasses.replace(data, length=_length(data, known))
    resolved = dataclasses.replace(config, data=data)
    limits.check(resolved)  # before, only the largest automatic width was checked
    return resolved


def _length(data: DataConfig, known: Known) -> str:
    if data.source not in ("folder", "mixture") or not data.use_labels:
        return ""
    texts, parts = _split(data, known.listing(data))
    train = [texts[i] for i in parts.train.tolist()]
    return text_lengths.of_labels([split(text, data.marks) for text in train], data.allow_empty)


def _split(data: DataConfig, found: Listing) -> tuple[list[str], splits.Split]:
    """Returns the texts of a listing, and its parts."""
    labels = list(found.labels.values())
    texts = [data.folding(label) for label in labels]
    own = [found.parts.get(file, "") for file in found.labels]
    return texts, splits.split(texts, data, own, labels)


def _width(data: DataConfig, known: Known) -> int:
    if not folder.uses_folder(data):
        return input_width.fitting(0, data.height)
    found = known.listing(data)
    listed = list(found.labels)
    kept = np.arange(len(listed))
    if data.use_labels or data.test_size:
        kept = np.setdiff1d(kept, _split(data, found)[1].test)
    files = [listed[place] for place in kept.tolist()]
    return input_width.fitting(aspects.median(data, files), data.height)
