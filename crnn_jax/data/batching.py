"""Batches of indices, which are all that the host sends to the device for a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int, Int32


def batches(
    indices: Int[np.ndarray, " N"], batch_size: int
) -> Iterator[tuple[Int32[np.ndarray, " B"], Bool[np.ndarray, " B"]]]:
    """Cuts indices into batches with their masks; the last batch is padded with index 0."""
    for start in range(0, len(indices), batch_size):
        chunk = indices[start : start + batch_size]
        padded = np.zeros(batch_size, np.int32)
        padded[: len(chunk)] = chunk
        yield padded, np.arange(batch_size) < len(chunk)


def calls(
    indices: Int[np.ndarray, " N"], batch_size: int, most: int
) -> Iterator[tuple[Int32[np.ndarray, "S B"], Bool[np.ndarray, "S B"]]]:
    """Stacks up to `most` batches. The last stack may be shorter."""
    stacked = [np.stack(part) for part in zip(*batches(indices, batch_size), strict=True)]
    for start in range(0, len(stacked[0]) if stacked else 0, most):
        yield stacked[0][start : start + most], stacked[1][start : start + most]


def epoch_order(train: Int[np.ndarray, " N"], seed: int, epoch: int) -> Int[np.ndarray, " N"]:
    """Shuffles the training indices for an epoch. Depends on (seed, epoch) only."""
    return np.random.default_rng([seed, epoch]).permutation(train)


def mixed_order(
    labeled: Int[np.ndarray, " N"],
    guessed: Int[np.ndarray, " M"],
    size: int,
    seed: int,
    epoch: int,
) -> Int[np.ndarray, " S"]:
    """Returns `size` images for an epoch; at least a quarter have labels, if there are any labels.

    If more than a quarter of all images have labels, the epoch has the same share of them.

    Args:
      labeled: images with labels.
      guessed: images with pseudo-labels; empty in an epoch without pseudo-labels.
      size: the number of images in an epoch.
      seed: the seed of the run.
      epoch: the number of the epoch, from 1.
    """
    share = len(labeled) / (len(labeled) + len(guessed))
    own = int(size * max(share, 0.25)) if len(labeled) else 0
    # Shuffled, then repeated: the images that occur once more than others are random ones.
    parts = [
        np.resize(epoch_order(images, seed, epoch), count)
        for images, count in ((labeled, own), (guessed, size - own))
    ]
    return epoch_order(np.concatenate(parts), seed, epoch)
