"""The direction in which labels are written: data.direction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Literal

from crnn_jax import bidi, clusters
from crnn_jax.config import DataConfig
from crnn_jax.data.label_rows import Listing
from crnn_jax.errors import DataError, quote


def of(config: DataConfig, listed: Callable[[DataConfig], Listing]) -> Literal["ltr", "rtl"]:
    """Returns 'rtl' if the alphabet or the labels have right-to-left letters, else 'ltr'.

    Generated texts are drawn from left to right. A mixture has the direction of its folder.

    Args:
      config: the data section.
      listed: lists the folder, such as `listing.checked`.
    """
    if config.source not in ("folder", "mixture"):
        return "ltr"
    texts = [config.alphabet]
    if not config.alphabet and config.use_labels:
        with contextlib.suppress(DataError):  # loading the folder reports it
            texts = list(listed(config).labels.values())
    return "rtl" if bidi.has_right_to_left(texts) else "ltr"


def warnings(texts: Sequence[str], config: DataConfig) -> tuple[str, ...]:
    """Warns of labels whose typed order cannot be recovered from the order in the image."""
    if config.direction != bidi.RIGHT_TO_LEFT or not (
        changed := clusters.changed(texts, config.marks)
    ):
        return ()
    example = changed[0]
    returned = "".join(clusters.as_typed(clusters.in_image(clusters.split(example, config.marks))))
    return (
        f"{len(changed)} of {len(texts)} labels, such as {quote(example)}, mix directions in a way "
        "that cannot be undone: the reader returns another order, here "
        f"{quote(returned)}, which counts as an error",
    )
