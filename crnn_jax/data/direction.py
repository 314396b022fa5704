"""The direction in which labels are written: data.direction."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal

from crnn_jax import bidi
from crnn_jax.config import DataConfig
from crnn_jax.data import listing
from crnn_jax.errors import DataError, quote


def of(config: DataConfig) -> Literal["ltr", "rtl"]:
    """Returns 'rtl' if the alphabet or the labels have right-to-left letters, else 'ltr'.

    Texts of generated images have the order in which they are drawn, from left to right, unless a
    mixture has labels from right to left.
    """
    if config.source not in ("folder", "mixture"):
        return "ltr"
    texts = [config.alphabet]
    if not config.alphabet and config.use_labels:
        with contextlib.suppress(DataError):  # loading the folder reports it
            texts = list(listing.of(config).labels.values())
    return "rtl" if bidi.has_right_to_left(texts) else "ltr"


def warnings(texts: Sequence[str], config: DataConfig) -> tuple[str, ...]:
    """Warns of labels that are not the same after they were put in the order of an image."""
    if config.direction != bidi.RIGHT_TO_LEFT or not (changed := bidi.changed(texts)):
        return ()
    example = changed[0]
    return (
        f"{len(changed)} of {len(texts)} labels, such as {quote(example)}, mix directions so that "
        "their order in the image has another reading, which the reader returns and which counts "
        f"as an error, such as {quote(bidi.logical(bidi.visual(example)))}",
    )
