"""Detects labels of digits that a program changed by reading them as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crnn_jax.errors import quote

_FLOAT = re.compile(r"\d+[.,]0+")
_EXPONENT = re.compile(r"\d([.,]\d+)?[eE]\+\d+")
_REMEDY = (
    "write the labels as text: with pandas, read them with dtype=str; with a spreadsheet, format "
    "the column as text before the labels are entered"
)
_CERTAIN = 0.03  # probability


def damaged_numbers(labels: Sequence[str], is_text: bool = False) -> str | None:
    """Says how labels of digits were changed; None if they look unchanged.

    Floats (`2998.0`) and exponents (`1.2E+05`) are always reported. Leading zeros count as lost if
    labels of digits have several lengths and none of them begins with 0, although one in ten would:
    with 34 labels, this happens by chance in 3 % of the sets.

    Args:
      labels: the labels of a file.
      is_text: whether the file stores labels as text, so that leading zeros are kept.
    """
    filled = [label for label in labels if label]
    floats = [label for label in filled if _FLOAT.fullmatch(label)]
    if floats and 2 * len(floats) >= len(filled):
        return f"{len(floats)} labels are floats, such as {quote(floats[0])}; {_REMEDY}"
    rest = [label for label in filled if not label.isdigit()]
    if rest and all(_EXPONENT.fullmatch(label) for label in rest):
        return f"{len(rest)} labels have an exponent, such as {quote(rest[0])}; {_REMEDY}"
    if not is_text and lost_zeros(filled) < _CERTAIN:
        return (
            f"none of the {len(filled)} labels begins with 0, and their lengths differ (such as "
            f"{quote(min(filled, key=len))} and {quote(max(filled, key=len))}): they seem to have "
            f"lost leading zeros; {_REMEDY}. If they are right, put them in quotes: "
            f'"{min(filled, key=len)}"'
        )
    return None


def lost_zeros(labels: Sequence[str]) -> float:
    """Returns the probability that digits have this form by chance; 1 if they are not numbers."""
    if not labels or not all(re.fullmatch("[1-9][0-9]*", label) for label in labels):
        return 1.0
    is_possible = len(set(map(len, labels))) > 1 and any("0" in label for label in labels)
    return float(0.9 ** len(labels)) if is_possible else 1.0
