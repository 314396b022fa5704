"""Finds the part of an image that its text fills, from the distribution of ink. Never imports jax.

If a wide canvas is squeezed to the input of a reader, the details that distinguish letters are
lost. interop/page/reader.js has the same rule.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

LEAST_CONTRAST = 40  # minimum difference of ink from paper in a channel, of 255
LEAST_INK = 20  # pixels; an image with fewer is not cropped


def content_box(image: Any, xp: ModuleType = np) -> tuple[Any, Any, Any, Any]:
    """Returns the box around the text of an image, with a margin: left, top, right, bottom.

    Paper is the median of the border, by channel. Ink is every pixel that differs from the paper by
    more than 40 and by more than 35 % of the largest difference. A pixel of ink counts by the
    square of the ink in the 5x5 pixels around it, so that thin lines and dots count little. The box
    leaves out 1 % of the ink on each side. Its margin is a quarter of its height above and below
    and a fifth left and right.

    Args:
      image: u8 [W, H, C].
      xp: numpy, or jax.numpy for a traced image.

    Returns:
      Integers. The whole image if it has fewer than 20 pixels of ink.
    """
    width, height, _ = image.shape
    image = image.astype(np.int32)
    border = xp.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))
    paper = xp.sort(border, axis=0)[len(border) // 2]
    differs = xp.abs(image - paper[None, None]).max(-1)
    ink = 20 * differs > xp.maximum(20 * LEAST_CONTRAST, 7 * differs.max())
    weight = ink * _around(_around(ink.astype(float), xp, 0), xp, 1) ** 2

    left, right = _ends(weight.sum(1), xp)
    top, bottom = _ends(weight.sum(0), xp)
    tall = bottom - top
    box = (
        xp.maximum(left - -(-tall // 5), 0),
        xp.maximum(top - -(-tall // 4), 0),
        xp.minimum(right - (-tall // 5), width),
        xp.minimum(bottom - (-tall // 4), height),
    )
    has_ink = ink.sum() >= LEAST_INK
    whole = (0, 0, width, height)
    left, top, right, bottom = (xp.where(has_ink, a, b) for a, b in zip(box, whole, strict=True))
    return left, top, right, bottom


def _around(values: Any, xp: ModuleType, axis: int) -> Any:
    """Sums five neighbors along an axis, with zeros outside."""
    padding = [(2, 2) if a == axis else (0, 0) for a in range(2)]
    padded = xp.pad(values, padding)
    size = values.shape[axis]
    return sum(padded[k : k + size] if axis == 0 else padded[:, k : k + size] for k in range(5))


def _ends(weight: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Returns where 1 % and 99 % of a weight [N] are reached; the end is exclusive."""
    reached = xp.cumsum(weight)
    return (
        xp.argmax(100 * reached >= reached[-1]),
        xp.argmax(100 * reached >= 99 * reached[-1]) + 1,
    )
