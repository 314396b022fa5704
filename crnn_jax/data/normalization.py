"""Normalizes pixels to mean 0 and standard deviation 1, over the training set or per image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
from jaxtyping import UInt8

from crnn_jax import schema
from crnn_jax.errors import DataError, RunError

# If images differ more than this in brightness or contrast (see `differences`), each is normalized
# by itself. captcha_images_v2 has 0.04, because its texts differ. Sets in which the color of ink or
# background changes have 0.14 or more.
ALIKE = 0.1


class Normalization(NamedTuple):
    """How pixels are normalized: (pixel - mean) / std, then each image by itself if `per_image`."""

    mean: tuple[float, ...]  # per channel, [C]
    std: tuple[float, ...]  # standard deviation per channel, [C]
    per_image: bool  # whether each image is then normalized by its own mean and std

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Normalization:
        """Reads the keys of a checkpoint or an exported reader, which are those of version 0.1."""
        return cls(tuple(values["mean"]), tuple(values["deviation"]), values["each_picture"])

    def to_record(self) -> dict[str, Any]:
        """The inverse of `from_record`."""
        return {"mean": self.mean, "deviation": self.std, "each_picture": self.per_image}


class _Record(TypedDict):
    mean: schema.Channels
    deviation: schema.Channels
    each_picture: bool


def fit(images: UInt8[np.ndarray, "N W H C"], how: str) -> Normalization:
    """Computes the normalization of training images.

    Args:
      images: the training images.
      how: the value of data.normalize: 'set', 'image', 'auto', or '' for pixels / 255.

    Raises:
      DataError: all channels are constant over all images.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256))  # histograms, which give the exact moments
    for some in _pieces(images):
        for c in range(channels):
            counts[c] += np.bincount(some[..., c].ravel(), minlength=256)
    levels = np.arange(256.0)
    mean = counts @ levels / counts.sum(1)
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    if (std == 0).all():
        raise DataError("all training images have the same uniform color; there is nothing to read")
    std = np.where(std == 0, std.max(), std)  # such as red where the text is red on white
    if how == "auto":
        how = "image" if max(differences(images)) > ALIKE else "set"
    if how == "set":
        return Normalization(tuple(mean.tolist()), tuple(std.tolist()), False)
    return plain(channels)._replace(per_image=how == "image")


def plain(channels: int) -> Normalization:
    """The normalization pixels / 255."""
    return Normalization((0.0,) * channels, (255.0,) * channels, False)


def check(normalization: Normalization, channels: int, source: str) -> None:
    """Raises RunError unless `normalization` fits images of `channels` channels; names `source`."""
    try:
        checked = schema.check(normalization.to_record(), _Record)
        for name in ("mean", "deviation"):
            if len(checked[name]) != channels:
                raise schema.InvalidError(f"{name}: {len(checked[name])} values")
        if not all(map(np.float32, checked["deviation"])):
            raise schema.InvalidError("deviation: it is 0")
    except schema.InvalidError as error:
        what = f"{source}: the normalization does not fit images with {channels} channels"
        raise RunError(f"{what}: {error}") from error


def differences(images: UInt8[np.ndarray, "N W H C"]) -> tuple[float, float]:
    """Measures how much images differ in brightness and in contrast.

    Returns:
      The standard deviation of the images' means, divided by the mean standard deviation within an
      image; and the standard deviation of the logarithm of the standard deviations within images.
    """
    means, stds = [], []
    for some in _pieces(images):
        pixels = some.reshape(len(some), -1)
        means += pixels.mean(1).tolist()
        stds += np.maximum(pixels.std(1), 1).tolist()  # a uniform image has no contrast
    light = np.std(means) / np.mean(stds)
    return float(light), float(np.std(np.log(stds)))


def _pieces(images: np.ndarray, size: int = 256) -> Iterator[np.ndarray]:
    """Yields some images at a time, since numpy needs temporaries of 8 bytes per pixel."""
    return (images[start : start + size] for start in range(0, len(images), size))
