"""How pixels become numbers of mean 0 and deviation 1: by the training set, or by each picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from crnn_jax.errors import DataError, RunError

# Up to here pictures are taken for alike in light and contrast. Those of captcha_images_v2 differ
# by 0.04, which is their text; sets whose ink or paper changes by 0.14 and more.
ALIKE = 0.1


class Standard(NamedTuple):
    """How pixels are standardised: (pixel - mean) / deviation, and then each picture by itself."""

    mean: tuple[float, ...]  # of each channel [C]
    deviation: tuple[float, ...]  # [C]
    each_picture: bool


def fit(images: np.ndarray, how: str) -> Standard:
    """What `data.standardise` asks for, of the training pictures u8 [N, W, H, C]."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256))  # the moments follow from them exactly
    for some in _pieces(images):
        for c in range(channels):
            counts[c] += np.bincount(some[..., c].ravel(), minlength=256)
    levels = np.arange(256.0)
    mean = counts @ levels / counts.sum(1)
    deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    if (deviation == 0).any():
        raise DataError("all training pictures are of one even colour; there is nothing to read")
    if how == "auto":
        how = "picture" if max(differences(images)) > ALIKE else "set"
    if how == "set":
        return Standard(tuple(mean.tolist()), tuple(deviation.tolist()), False)
    return plain(channels)._replace(each_picture=how == "picture")


def plain(channels: int) -> Standard:
    """Pixels / 255."""
    return Standard((0.0,) * channels, (255.0,) * channels, False)


def check(standard: Standard, channels: int, source: str) -> None:
    """RunError unless pixels of so many channels can be standardised by what a file says."""
    numbers = (*standard.mean, *standard.deviation)
    fine = (
        len(standard.mean) == len(standard.deviation) == channels
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
        and all(standard.deviation)
        and isinstance(standard.each_picture, bool)
    )
    if not fine:
        raise RunError(
            f"{source}: pixels of {channels} channels cannot be standardised by {standard}"
        )


def differences(images: np.ndarray) -> tuple[float, float]:
    """How far pictures u8 [N, W, H, C] differ in light and in contrast.

    The deviation of their means, as a share of the mean deviation within a picture; and the
    deviation of the logarithm of the deviations within them.
    """
    means, deviations = [], []
    for some in _pieces(images):
        pixels = some.reshape(len(some), -1)
        means += pixels.mean(1).tolist()
        deviations += np.maximum(pixels.std(1), 1).tolist()  # an even picture has no contrast
    light = np.std(means) / np.mean(deviations)
    return float(light), float(np.std(np.log(deviations)))


def _pieces(images: np.ndarray, size: int = 256) -> Iterator[np.ndarray]:
    """Some pictures at a time: numpy counts and sums by way of copies of 8 bytes a pixel."""
    return (images[start : start + size] for start in range(0, len(images), size))
