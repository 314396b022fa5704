"""Detects labels that a program changed by reading them as numbers or dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from crnn_jax.data.index_report import SUM
from crnn_jax.errors import quote

_FLOAT = re.compile(r"\d+[.,]0")
_EXPONENT = re.compile(r"\d([.,]\d+)?[eE]\+\d+")
_DATE = "in the form of a date"
_MONTH = r"\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2}"
_TRUTH = "in the form of a truth value"
# Forms that a spreadsheet gives to texts, each with the symbol that marks it.
_CHANGES = (
    ("with an exponent", re.compile(r"\d([.,]\d+)?E\+\d{2,}"), re.compile(r"[+]")),
    ("in the form of a float", re.compile(r"\d+\.0"), re.compile(r"[.]")),
    ("with commas between digits", re.compile(r"\d{1,3}(,\d{3})+"), re.compile(",")),
    (_DATE, re.compile(_MONTH), re.compile("-")),
    (_TRUTH, re.compile("TRUE|FALSE"), re.compile("[A-Z]")),
)
# What programs make of 4-5: 4-May, May-04, 2023-04-05 00:00:00, 4/5/2023, 4月5日, 04. Mai
_OF_SUM = re.compile(
    rf"{_MONTH}|\d{{4}}-\d\d-\d\d( 00:00:00)?|\d{{1,2}}/\d{{1,2}}/\d{{4}}"
    r"|\d{1,2}月\d{1,2}日|\d{1,2}\. ?[A-Z][a-z\u00e4]{2}"
)
_REMEDY = (
    "write the labels as text: with pandas, read them with dtype=str; with a spreadsheet, format "
    "the column as text before the labels are entered"
)
_CERTAIN = 0.03  # probability
DOUBTFUL = 0.12
_FEW = 5  # labels; fewer others show no form


class Change(NamedTuple):
    """Labels of a file that a program seems to have changed."""

    what: str  # such as "in the form of a date"
    places: list[int]  # of these labels among those of the file


def damaged_numbers(labels: Sequence[str], is_text: bool = False, kept: str = "") -> str | None:
    """Says how labels of digits were changed; None if they look unchanged.

    Floats (`2998.0`) are reported if most labels are floats, and exponents (`1.2E+05`) if all
    labels except digits have one. Leading zeros count as lost if labels of digits have several
    lengths and none of them begins with 0, although one in ten would: with 34 labels, this happens
    by chance in 3 % of the sets.

    Args:
      labels: the labels of a file.
      is_text: whether the file stores labels as text, so that leading zeros are kept.
      kept: how the format of the file stores labels as text; "put them in quotes" by default.
    """
    filled = [label for label in labels if label]
    right = f"If they are right, {kept or 'put them in quotes'}"
    floats = [label for label in filled if _FLOAT.fullmatch(label)]
    if not is_text and floats and 2 * len(floats) >= len(filled):
        what = f"{len(floats)} labels are floats, such as {quote(floats[0])}"
        return f'{what}; {_REMEDY}. {right}: "{floats[0]}"'
    rest = [label for label in filled if not label.isdigit()]
    if rest and all(_EXPONENT.fullmatch(label) for label in rest):
        return f"{len(rest)} labels have an exponent, such as {quote(rest[0])}; {_REMEDY}"
    if not is_text and lost_zeros(filled) < _CERTAIN:
        return (
            f"none of the {len(filled)} labels begins with 0, and their lengths differ (such as "
            f"{quote(min(filled, key=len))} and {quote(max(filled, key=len))}): they seem to have "
            f'lost leading zeros; {_REMEDY}. {right}: "{min(filled, key=len)}"'
        )
    return None


def changes(labels: Sequence[str], is_text: bool = False) -> list[Change]:
    """Returns labels of the form that a spreadsheet gives to texts, if few others look like it.

    For example, it makes 7.90E+09 of 79e8, 12-Dec of dec12, and 614 of 0614. Most captchas have
    labels of one length; then digits that are shorter may have lost zeros.

    Args:
      labels: the labels of a file.
      is_text: whether the file stores labels as text, so that leading zeros are kept.
    """
    dated = _dated_sums(labels)
    found = [Change(_DATE, dated)] if dated else []
    forms = [form for _, form, _ in _CHANGES]
    others = [text for text in labels if text and not any(form.fullmatch(text) for form in forms)]
    for what, form, symbol in _CHANGES:
        if what == _DATE and dated:
            continue
        places = [i for i, label in enumerate(labels) if form.fullmatch(label)]
        if not places or 2 * len(places) > len(labels) or (what == _TRUTH and len(others) < _FEW):
            continue
        if 20 * sum(bool(symbol.search(label)) for label in others) <= len(others):
            found.append(Change(what, places))
    if not is_text and lost_zeros(labels) > DOUBTFUL and (short := _short(labels)):
        found.append(Change("of digits alone, shorter than all others", short))
    return found


def _dated_sums(labels: Sequence[str]) -> list[int]:
    """Returns the places of dates, if nearly all other labels are sums of two numbers."""
    places = [i for i, label in enumerate(labels) if _OF_SUM.fullmatch(label)]
    if not places or 2 * len(places) > len(labels):
        return []
    sums = sum(len(re.findall("[0-9]+", t)) == 2 for t in labels if SUM.fullmatch(t))
    return places if 20 * sums >= 19 * (len(labels) - len(places)) else []


def _short(labels: Sequence[str]) -> list[int]:
    """Returns the places of labels of digits that are shorter than all others, if these are many.

    There are none if a label of digits begins with 0, because then zeros are kept.
    """
    if not any("0" in label for label in labels):
        return []  # the alphabet has no zero
    lengths = {len(label) for label in labels if label and not label.isdigit()}
    length = max(lengths, default=max(map(len, labels), default=0))
    short = [i for i, label in enumerate(labels) if label.isdigit() and len(label) < length]
    whole = sum(len(label) == length for label in labels)
    if whole < max(_FEW, 3 * len(short)) or whole + len(short) < len(list(filter(None, labels))):
        return []
    return [] if any(re.fullmatch("0[0-9]*", label) for label in labels) else short


def lost_zeros(labels: Sequence[str]) -> float:
    """Returns the probability that digits have this form by chance; 1 if they are not numbers."""
    if not labels or not all(re.fullmatch("[1-9][0-9]*", label) for label in labels):
        return 1.0
    is_possible = len(set(map(len, labels))) > 1 and any("0" in label for label in labels)
    return float(0.9 ** len(labels)) if is_possible else 1.0
