"""How pixels become numbers of mean 0 and deviation 1: by the training set, or by each picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypedDict

import numpy as np

from crnn_jax import schema
from crnn_jax.errors import DataError, RunError

# Up to here pictures are taken for alike in light and contrast. Those of captcha_images_v2 differ
# by 0.04, which is their text; sets whose ink or paper changes by 0.14 and more.
ALIKE = 0.1


class Standard(NamedTuple):
    """How pixels are standardised: (pixel - mean) / deviation, and then each picture by itself."""

    mean: tuple[float, ...]  # of each channel [C]
    deviation: tuple[float, ...]  # [C]
    each_picture: bool


class _Stored(TypedDict):
    mean: schema.Channels
    deviation: schema.Channels
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
    """RunError unless pixels of `channels` channels can be standardized so; names `source`."""
    try:
        checked = schema.check(standard._asdict(), _Stored)
        for name in ("mean", "deviation"):
            if len(checked[name]) != channels:
                raise schema.InvalidError(f"{name}: {len(checked[name])} values")
        if not all(map(np.float32, checked["deviation"])):
            raise schema.InvalidError("deviation: it is 0")
    except schema.InvalidError as error:
        what = f"{source}: the normalization does not fit images of {channels} channels"
        raise RunError(f"{what}: {error}") from error


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
