"""Splits a data set into training and validation parts, and into folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax.config import DataConfig
from crnn_jax.errors import DataError


class Split(NamedTuple):
    train: np.ndarray  # i32 [number of training images], indices into the data set
    val: np.ndarray  # i32 [number of validation images]


def split(texts: Sequence[str], config: DataConfig) -> Split:
    """Splits a data set by label. The split depends on the labels and `config.split_seed` only.

    All images with the same label are in the same part. With `num_folds`, fold number `fold` is the
    validation part; otherwise it is the first `val_fraction` of the same shuffle, so that fold 0 of
    ten is the 90/10 split. Training indices are shuffled, and `train_size` takes the first ones, so
    that a smaller training set is a subset of every larger one.

    Args:
      texts: the labels.
      config: the data section.

    Raises:
      DataError: a part would be empty, or train_size exceeds the number of training images.
    """
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(text, []).append(index)
    # Indices are shuffled, because numpy's strings lose a trailing NUL.
    texts_once = sorted(groups)
    order = np.random.default_rng(config.split_seed).permutation(len(texts_once))
    if config.num_folds:
        # Fold k has the labels whose first image is in the k-th of num_folds equal ranges.
        def in_val(start: int) -> bool:
            return start * config.num_folds // len(texts) == config.fold
    else:
        num_val = len(texts) - int(len(texts) * (1 - config.val_fraction))

        def in_val(start: int) -> bool:
            return start < num_val

    train: list[int] = []
    val: list[int] = []
    start = 0
    for place in order.tolist():
        group = groups[texts_once[place]]
        (val if in_val(start) else train).extend(group)
        start += len(group)
    if not train or not val:
        what = f"{len(texts)} images with {len(groups)} different labels"
        raise DataError(f"{what}: the training or the validation part is empty; add images")
    if config.train_size > len(train):
        raise DataError(f"data.train_size is {config.train_size}; there are {len(train)} images")
    train = train[: config.train_size or None]
    return Split(np.array(train, np.int32), np.array(sorted(val), np.int32))
