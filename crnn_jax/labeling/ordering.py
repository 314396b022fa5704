"""The order in which images are labeled: those that the reader is unsure of, and that differ.

The order is filtered active submodular selection (Wei, Iyer & Bilmes, "Submodularity in data subset
selection and active learning", 2015). The filter is least confidence sampling (Lewis & Gale 1994;
for sequences, Culotta & McCallum 2005): it keeps the images whose readings have the lowest
confidence. Among these, a greedy choice covers the symbols: the value of a set of texts is the sum
over all symbols of the square root of how often the symbol occurs, so that a symbol that was
labeled often adds little. Images with the same symbols are redundant, and a symbol without a label
cannot be learned.

Everything here is numpy on the host, and needs the readings only, not the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

POOL = 8  # candidates for each image of a batch; chosen by hand


def batch(
    confidences: Float[np.ndarray, " N"], texts: Sequence[str], labels: Sequence[str], count: int
) -> list[int]:
    """Returns the images of a batch in the order in which they are labeled.

    Args:
      confidences: the confidences of the readings of images without a label.
      texts: the N readings.
      labels: the labels that are known; their symbols count as covered.
      count: the size of the batch; fewer if N is smaller.

    Returns:
      Indices of images, at most `count`.
    """
    pool = least_confident(confidences, POOL * count)
    chosen = covering([texts[i] for i in pool.tolist()], labels, count)
    return [int(pool[i]) for i in chosen]


def least_confident(confidences: Float[np.ndarray, " N"], count: int) -> Int[np.ndarray, " M"]:
    """Returns the indices of the `count` lowest confidences, from the lowest on.

    Of equal confidences, the one with the lower index is first. Memory and time are those of a
    partition, so that 100,000 images take milliseconds.
    """
    count = min(count, len(confidences))
    if not count:
        return np.empty(0, np.intp)
    bound = np.partition(confidences, count - 1)[count - 1]
    found = np.flatnonzero(confidences <= bound)
    return found[np.argsort(confidences[found], kind="stable")][:count]


def covering(texts: Sequence[str], labels: Sequence[str], count: int) -> list[int]:
    """Chooses texts greedily, so that all symbols are covered.

    A text counts as one in all, shared by its symbols, so that long texts have no advantage. An
    empty text has its own symbol. The greedy choice reaches at least 1 - 1/e of the value of
    the best set (Nemhauser, Wolsey & Fisher 1978).

    Args:
      texts: the candidates. Of equally good ones, the first is chosen.
      labels: texts that are already part of the set.
      count: how many are chosen; all if there are fewer.

    Returns:
      Indices of candidates, in the order in which they are chosen.
    """
    symbols = {symbol: i for i, symbol in enumerate(sorted({"", *"".join((*texts, *labels))}))}
    shares = np.stack([_shares(text, symbols) for text in texts]) if texts else np.empty((0, 1))
    covered = _covered(labels, symbols)
    chosen: list[int] = []
    is_left = np.ones(len(texts), bool)
    for _ in range(min(count, len(texts))):
        gains = (np.sqrt(covered + shares) - np.sqrt(covered)).sum(axis=1)  # [N]
        best = int(np.argmax(np.where(is_left, gains, -np.inf)))
        chosen.append(best)
        is_left[best] = False
        covered = covered + shares[best]
    return chosen


def _covered(labels: Sequence[str], symbols: dict[str, int]) -> Float[np.ndarray, " V"]:
    """Returns the sum of the shares of labels. There can be 100,000 labels."""
    total = [0.0] * len(symbols)
    for label in labels:
        share = 1 / max(len(label), 1)
        for symbol in label or [""]:
            total[symbols[symbol]] += share
    return np.array(total)


def _shares(text: str, symbols: dict[str, int]) -> Float[np.ndarray, " V"]:
    """Returns the share of each symbol in a text."""
    places = [symbols[symbol] for symbol in text or [""]]
    return np.bincount(places, minlength=len(symbols)) / len(places)
