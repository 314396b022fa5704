"""Splits a data set, and warns of problems with its parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from crnn_jax import clusters
from crnn_jax.config import DataConfig
from crnn_jax.data import label_report, splits, text_lengths
from crnn_jax.data.folder import Dataset
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.data.splits import Split
from crnn_jax.errors import DataError, one_line, quote

_PARTS = {"train": "training", "val": "validation", "test": "test"}


def split(data: Dataset, config: DataConfig) -> Split:
    """Like `splits.split`, for a data set.

    Raises:
      DataError: see `splits.split`; or a training label does not have the length data.length. The
        message also says if the labels look misread.
    """
    try:
        parts = splits.split(data.texts, config, data.parts, data.labels)
    except DataError as error:
        is_named = data.origin == FILE_NAMES
        found = label_report.warnings(data.files, data.labels, is_named, config.label_pattern)
        raise DataError("\n".join([str(error), *found])) from error
    train = parts.train.tolist()
    texts = [data.texts[i] for i in train]
    text_lengths.check_labels([data.files[i] for i in train], texts, config)
    return parts


def notes(data: Dataset, parts: Split, config: DataConfig) -> list[str]:
    """Returns notes on a split: how it was made, overlaps, and symbols without a training image.

    Args:
      data: a data set. Images are compared only if all of them are in memory.
      parts: its parts.
      config: the data section.
    """
    found = []
    own = [name for name in ("val", "test") if name in data.parts]
    if config.num_folds and "val" in own:
        own.remove("val")
        found.append("data.num_folds divides all images, including those of the validation part")
    if own:
        counts = [f"{data.parts.count(name)} for {_PARTS[name]}" for name in own]
        found.append(f"the data set has its own parts, which are used: {', '.join(counts)}")
    if len(data.images) == len(data):  # all are in memory
        digests = {name: _digests(data, getattr(parts, name).tolist()) for name in _PARTS}
        for name, other in (("val", "train"), ("test", "train"), ("test", "val")):
            found += _same_images(data, digests, name, other)
        found += _other_labels(data, {i: d for part in digests.values() for i, d in part.items()})
        for name in own:
            found += _same_labels(data, parts, name)
    labeled = [data.texts[i] for i in np.concatenate((parts.train, parts.val)).tolist()]
    if "val" not in own and len(parts.val) and splits.has_few_labels(labeled):
        found.append(
            f"{len(labeled)} images have only {len(set(labeled))} different labels, so the split "
            "is by image: images with the same label are both in training and in validation"
        )
    if wrong := text_lengths.others([data.texts[i] for i in parts.val.tolist()], config):
        found.append(
            f"{len(wrong)} of {len(parts.val)} validation labels, such as {quote(wrong[0])}, are "
            f"counted as errors, because the reader reads texts of {config.length} characters only "
            "(data.length)"
        )
    return found + _unseen(data.texts, parts, config.marks)


def _unseen(texts: Sequence[str], parts: Split, marks: str) -> list[str]:
    """Names the symbols of the validation and test parts that no training image has."""
    known: set[str] = set()
    for i in parts.train.tolist():
        known.update(clusters.split(texts[i], marks))
    found = []
    for name in ("val", "test") if known else ():
        part = [clusters.split(texts[i], marks) for i in getattr(parts, name).tolist()]
        unseen = set().union(*part) - known
        if unseen:
            count = sum(bool(unseen & set(text)) for text in part)
            symbols = quote("".join(sorted(unseen)))
            found.append(
                f"{count} of {len(part)} {_PARTS[name]} images have symbols that no training image "
                f"has: {symbols}. They cannot be learned; add images with them"
            )
    return found


def _digests(data: Dataset, part: Sequence[int]) -> dict[int, bytes]:
    """Returns the digest of each image of a part."""
    return {i: hashlib.sha256(data.images[i].tobytes()).digest() for i in part}


def _same_images(
    data: Dataset, digests: Mapping[str, dict[int, bytes]], name: str, other: str
) -> list[str]:
    """Reports images of a part that are in another part too, with the same label."""
    others = {(digest, data.texts[i]): i for i, digest in digests[other].items()}
    found = {i: (digest, data.texts[i]) for i, digest in digests[name].items()}
    same = {i: others[key] for i, key in found.items() if key in others}
    if not same:
        return []
    i = next(iter(same))
    return [
        f"{len(same)} of {len(digests[name])} {_PARTS[name]} images are also in the "
        f"{_PARTS[other]} part, such as {one_line(data.files[i])}, the same as "
        f"{one_line(data.files[same[i]])}: their scores are too high"
    ]


def _other_labels(data: Dataset, digests: Mapping[int, bytes]) -> list[str]:
    """Reports images with the same pixels as another one, but another label."""
    groups: dict[bytes, list[int]] = {}
    for i, digest in digests.items():
        groups.setdefault(digest, []).append(i)
    equal = [group for group in groups.values() if len({data.texts[i] for i in group}) > 1]
    if not equal:
        return []
    first = equal[0][0]
    other = next(i for i in equal[0] if data.texts[i] != data.texts[first])
    shown = [f"{one_line(data.files[i])} ({quote(data.texts[i])})" for i in (first, other)]
    blank = sum(len(group) for group in equal if not np.ptp(data.images[group[0]]))
    what = f"; {blank} of them have only one color" if blank else ""
    return [
        f"{sum(map(len, equal))} images have the same pixels as another one, but another label, "
        f"such as {' and '.join(shown)}{what}: correct the labels, or remove these images"
    ]


def _same_labels(data: Dataset, parts: Split, name: str) -> list[str]:
    """Reports labels of a part that training images have too."""
    part = getattr(parts, name).tolist()
    known = {data.texts[i] for i in parts.train.tolist()}
    count = sum(data.texts[i] in known for i in part)
    what = f"{count} of {len(part)} {_PARTS[name]} images have a label that a training image has"
    return [what] if count else []
