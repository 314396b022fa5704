"""Characters with their combining marks, and their order in an image.

Thai, Hindi, Hebrew with vowel points, and other scripts write marks above, below, or around a
letter. A reader can learn each mark as a symbol of its own (data.marks=separate), or each
combination as one symbol (joined). For the latter, a text is split into clusters: a character and
the combining marks after it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from crnn_jax import bidi

JOINED = "joined"
# Code points among which are the letters of a bidirectional class that stand in for clusters of
# that class. Each range has more than 250 such letters; no text has that many different clusters.
_LETTERS = {"L": (0x4E00, 0x9FFF), "R": (0x10800, 0x10C80), "AL": (0x0620, 0x08C8)}


def split(text: str, marks: str = JOINED) -> list[str]:
    """Splits a text into its symbols, in their order.

    Args:
      text: a text in composed form (NFC), like labels.
      marks: separate: every code point is a symbol. joined: a combining mark (Unicode's category M)
        belongs to the symbol before it.
    """
    if marks != JOINED:
        return list(text)
    symbols: list[str] = []
    for c in text:
        if symbols and is_mark(c):
            symbols[-1] += c
        else:
            symbols.append(c)
    return symbols


def is_mark(character: str) -> bool:
    """Whether a character is a combining mark (Unicode's category M)."""
    return unicodedata.category(character).startswith("M")


def in_image(symbols: Sequence[str]) -> list[str]:
    """Converts the symbols of a right-to-left text to their order in an image, from the left.

    Raises:
      ConfigError: python-bidi is not installed.
    """
    return _reordered(symbols, bidi.visual)


def as_typed(symbols: Sequence[str]) -> list[str]:
    """Converts symbols in the order of an image to logical order: the inverse of `in_image`."""
    return _reordered(symbols, bidi.logical)


def changed(texts: Iterable[str], marks: str = "separate") -> list[str]:
    """Returns the texts that are not the same after `in_image` and `as_typed`."""
    each = ((text, split(text, marks)) for text in texts)
    return [text for text, symbols in each if as_typed(in_image(symbols)) != symbols]


def bidirectional_class(symbol: str) -> str:
    """Returns the bidirectional class of a character, or that which a cluster counts as.

    A digit or punctuation mark with a combining mark counts as a left-to-right letter.
    """
    kind = unicodedata.bidirectional(symbol[0])
    return kind if len(symbol) == 1 or kind in _LETTERS else "L"


def _reordered(symbols: Sequence[str], order: Callable[[str], str]) -> list[str]:
    """Reorders symbols by a function that reorders characters.

    The algorithm does not know clusters and would move a mark away from its letter. So each cluster
    is replaced by a letter of the same bidirectional class, which suffices because the order
    depends only on classes and brackets (UAX #9, P1 to L2). Single characters are not replaced.
    """
    taken = set("".join(symbols))
    letters = {kind: (c for c in _letters(kind) if c not in taken) for kind in _LETTERS}
    stand_ins = {}
    for cluster in dict.fromkeys(symbol for symbol in symbols if len(symbol) > 1):
        stand_ins[cluster] = next(letters[bidirectional_class(cluster)])
    originals = {letter: cluster for cluster, letter in stand_ins.items()}
    ordered = order("".join(stand_ins.get(symbol, symbol) for symbol in symbols))
    return [originals.get(c, c) for c in ordered]


@functools.cache
def _letters(kind: str) -> str:
    first, end = _LETTERS[kind]
    return "".join(c for c in map(chr, range(first, end)) if unicodedata.bidirectional(c) == kind)
