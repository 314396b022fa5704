"""Splits a data set into training, validation and test parts, and into folds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax.charset import merge_look_alikes
from crnn_jax.config import DataConfig
from crnn_jax.errors import DataError, quote

_TEST_SEED = 1  # seed of every test part; no config changes it
REST = "rest"  # value of data.unlabeled: the training images beyond data.train_size
_NONE = np.empty(0, np.int32)


class Split(NamedTuple):
    """The parts of a data set."""

    train: np.ndarray  # i32 [number of training images], indices into the data set
    val: np.ndarray  # i32 [number of validation images]
    test: np.ndarray = _NONE  # i32 [number of test images]
    unlabeled: np.ndarray = _NONE  # i32, training images whose labels are not used


def held_out(texts: Sequence[str], size: int) -> np.ndarray:
    """Returns the test part of a data set: `size` images, at most a third of them.

    It depends on `size` and the labels only, with case and look-alikes merged in the labels. A run
    that merges them therefore has the same test part. All images with the same merged label are on
    one side, which can add a few images, unless `has_few_labels`.

    Args:
      texts: the labels, in the order of the files.
      size: the number of images; 0 for no test part.

    Returns:
      i32 [number of test images], sorted indices.
    """
    size = min(size, len(texts) // 3)
    if not size:
        return _NONE
    merged = [merge_look_alikes(text) for text in texts]
    groups = _groups(merged, has_few_labels(merged))
    order = np.random.default_rng(_TEST_SEED).permutation(len(groups))
    test: list[int] = []
    for place in order.tolist():
        if len(test) >= size:
            break
        test += groups[place]
    return np.array(sorted(test), np.int32)


def has_few_labels(texts: Sequence[str]) -> bool:
    """Whether labels repeat, and there are fewer than twice as many of them as symbols.

    If all images of a label were in one part, the other parts could lack symbols.
    """
    different = set(texts)
    symbols = set("".join(different))
    return 2 * len(different) <= len(texts) and len(different) < 2 * len(symbols)


def split(
    texts: Sequence[str],
    config: DataConfig,
    parts: Sequence[str] = (),
    labels: Sequence[str] | None = None,
) -> Split:
    """Splits a data set: see `held_out` for the test part, `_split` for the others.

    Parts that the data set defines are used as they are. With data.num_folds, the folds also divide
    its validation part.

    If data.use_labels is off, all images outside the test part are unlabeled.

    Args:
      texts: the labels, after data.case and data.merge.
      config: the data section.
      parts: train, val, test or an empty string for each image; empty if the data set has none.
      labels: the labels as found, so that data.merge does not change the test part; by default
        `texts`.

    Raises:
      DataError: a part would be empty, or train_size exceeds the number of training images.
    """
    own = np.array(parts if len(parts) else [""] * len(texts))
    test = np.flatnonzero(own == "test").astype(np.int32)
    val = np.flatnonzero(own == "val").astype(np.int32)
    if not len(test):  # chosen before the folds are, so that it is the same with and without them
        found = texts if labels is None else labels
        others = np.setdiff1d(np.arange(len(texts), dtype=np.int32), val)
        test = others[held_out([found[i] for i in others.tolist()], config.test_size)]
    if config.num_folds or not config.use_labels:
        val = _NONE
    rest = np.setdiff1d(np.arange(len(texts), dtype=np.int32), np.concatenate((test, val)))
    if not config.use_labels:
        return Split(_NONE, _NONE, test, rest)
    if len(parts) and not len(rest):
        raise DataError(
            f"all {len(texts)} images are in the validation or test part, so there are no "
            "training images; add a train part, remove the column of the parts, or give the folder "
            "of one part as data.dir"
        )
    if len(val):
        config = dataclasses.replace(config, val_fraction=0.0, min_val_size=0)
    train, chosen = _split([texts[i] for i in rest.tolist()], config)
    val = val if len(val) else rest[chosen]
    size = config.train_size
    if size > len(train):
        raise DataError(
            f"data.train_size is {size}, but there are only {len(train)} training images; lower it"
        )
    beyond = rest[train[size:]] if size and config.unlabeled == REST else _NONE
    return Split(rest[train[: size or None]], val, test, beyond)


def _groups(texts: Sequence[str], by_image: bool) -> list[list[int]]:
    """Returns the indices of the images of each label, sorted by label, or of each image."""
    # Shuffle indices, not texts, because numpy's strings lose a trailing NUL.
    groups = _by_text(texts)
    found = [groups[text] for text in sorted(groups)]
    return [[index] for group in found for index in group] if by_image else found


def _by_text(texts: Sequence[str]) -> dict[str, list[int]]:
    """Returns the indices of each text. Each image without text is a group."""
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(text or f"\0{index}", []).append(index)
    return groups


def _split(texts: Sequence[str], config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Splits all images outside the test part into training and validation parts.

    All images with the same label are in the same part, unless `has_few_labels`. The labels, or
    else the images, are shuffled by `config.split_seed`. With `num_folds`, fold number `fold` is
    the validation part. Otherwise the validation part is the first `val_fraction` of the same
    shuffle, so that fold 0 of ten is the 90/10 split. Training indices are shuffled, and
    `train_size` takes the first ones, so that a smaller training set is a subset of every larger
    one. A validation part of fewer than `min_val_size` images joins the training part, after the
    others.
    """
    has_val = config.val_fraction or config.num_folds
    if has_val and len(texts) > 1 and len(set(texts)) == 1 and not config.min_val_size:
        raise DataError(
            f"all {len(texts)} images have the label {quote(texts[0])}, so there is nothing to "
            "learn; check that it is the text of every image (see data.label_pattern)"
        )
    groups = _groups(texts, has_few_labels(texts))
    order = np.random.default_rng(config.split_seed).permutation(len(groups))
    if config.num_folds > len(groups):
        raise DataError(
            f"{_what(texts)} cannot be divided into data.num_folds={config.num_folds} folds; "
            f"choose at most {len(groups)}"
        )
    if config.num_folds:
        # Fold k has the labels whose first image is in the k-th of num_folds equal ranges.
        def in_val(start: int) -> bool:
            return start * config.num_folds // len(texts) == config.fold
    else:
        # Rounded first, because 100 * 0.07 is 7.000000000000001.
        num_val = math.ceil(round(len(texts) * config.val_fraction, 6))

        def in_val(start: int) -> bool:
            return start < num_val

    train: list[int] = []
    val: list[int] = []
    start = 0
    for place in order.tolist():
        group = groups[place]
        (val if in_val(start) else train).extend(group)
        start += len(group)
    if len(val) < config.min_val_size:
        train, val = train + sorted(val), []
    elif not val and has_val:
        raise DataError(f"{_what(texts)}: the validation part is empty; add images")
    if not train:
        raise DataError(f"{_what(texts)}: the training part is empty; add images")
    return np.array(train, np.int32), np.array(sorted(val), np.int32)


def _what(texts: Sequence[str]) -> str:
    return f"{len(texts)} images with {len(set(texts))} different labels"
