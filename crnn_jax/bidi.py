"""Converts right-to-left text between typing order and left-to-right order in an image.

A reader emits symbols from left to right, but Hebrew and Arabic are typed, stored and scored in
logical order, the first letter first. Unicode's bidirectional algorithm (UAX #9) gives the order in
an image; numbers and Latin words inside keep their direction. Every text counts as a right-to-left
paragraph. Only the order changes: a bracket in the text stays the same character, although its
shape is mirrored in the image. The algorithm is that of python-bidi, which only such texts need.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from crnn_jax.errors import ConfigError

RIGHT_TO_LEFT = "rtl"
_ARABIC_LETTER_MARK = "\u061c"  # digits after it count as those after an Arabic letter (rule W2)


def has_right_to_left(texts: Iterable[str]) -> bool:
    """Whether some text has a letter of a script that is written from right to left."""
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in set("".join(texts)))


def visual(text: str) -> str:
    """Converts logical order to the order in an image, from left to right.

    Raises:
      ConfigError: python-bidi is not installed.
    """
    try:
        from bidi import get_display
    except ImportError as error:
        raise ConfigError(
            "texts from right to left need python-bidi: pip install 'crnn-jax[bidi]'; or set "
            "data.direction=ltr if the labels are in the order of the image, from left to right"
        ) from error
    # A line end would be reordered as a separate paragraph; labels cannot have one.
    return str(get_display(text, base_dir="R"))


def logical(text: str) -> str:
    """Converts the order in an image to logical order: the inverse of `visual`.

    For letters and numbers, the algorithm is its own inverse. Numbers with punctuation that were
    typed after an Arabic letter need an Arabic letter mark in front. A few mixed texts have no
    inverse; `clusters.changed` finds them.
    """
    plain = visual(text)
    if visual(plain) == text:
        return plain
    marked = visual(_ARABIC_LETTER_MARK + text).replace(_ARABIC_LETTER_MARK, "")
    return marked if visual(marked) == text else plain
