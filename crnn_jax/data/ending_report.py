"""Warns of labels that are another label and an ending, such as 226md-blur or 226md1."""

from __future__ import annotations

import re

from crnn_jax.data.doubt import FEW, Doubt, count_labels, examples_of, with_patterns
from crnn_jax.data.index_report import SUM


def endings(names: dict[str, str]) -> Doubt | None:
    """Warns of labels that are another label and an ending, with or without a mark before it."""
    return _marked(names) or _numbered(names)


def _marked(names: dict[str, str]) -> Doubt | None:
    """Warns of labels that are another label and an ending, such as 226md-blur."""
    known = set(names.values())
    longer: dict[str, str] = {}
    marks: dict[str, None] = {}
    for file, label in names.items():
        found = re.fullmatch(r"(\w+)([-.~+ @#]).*[^\W\d_].*", label)
        if found and found[1] in known:
            longer[file] = label
            marks[found[2]] = None
    if len(longer) < max(FEW, len(names) / 10):
        return None
    what = (
        f"{count_labels(longer, 'are')} another label and an ending, such as {examples_of(longer)}"
    )
    return with_patterns(what, longer, f"^([^{re.escape(''.join(marks))}_]+)")


def _numbered(names: dict[str, str]) -> Doubt | None:
    """Warns of doubles with the same digit at the end, such as 226md and 226md1.

    All other labels must have one length.
    """
    known = set(names.values())
    shortest = min(map(len, known))
    longer = {file: label for file, label in names.items() if len(label) > shortest}
    ends = {label[-1] for label in longer.values()}
    if len(longer) < max(FEW, len(names) / 10) or len(ends) > 1 or not ends <= set("123456789"):
        return None
    if any(
        len(t) != shortest + 1 or t[:-1] not in known or SUM.fullmatch(t) for t in longer.values()
    ):
        return None
    what = f"{count_labels(longer, 'are')} another label and a digit, such as {examples_of(longer)}"
    return with_patterns(what, longer, f"^([^_]{{{shortest}}})")
