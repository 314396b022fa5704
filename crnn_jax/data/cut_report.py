"""Warns of labels from file names that end too early, at an underscore within the text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crnn_jax.data.doubt import FEW, IN_FILE, RENAME, Doubt, count_labels, examples_of
from crnn_jax.data.index_report import EQUALS, SIGN

# A name whose underscore is a sign, such as 8_2=, or is in a place without meaning, such as 1+_2.
# An x can end a label: 40x_7.
_CUT_SUM = re.compile(rf"\d{{1,3}}(_\d{{1,3}} ?{EQUALS}|(?!x){SIGN}_\d{{1,3}}( ?{EQUALS})?)_?")


def sums(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of labels that end at an underscore within a sum."""
    pairs = zip(stems, names.items(), strict=True)
    cut = {file: label for stem, (file, label) in pairs if _CUT_SUM.fullmatch(stem)}
    if not cut:
        return None
    where = "the label ends at the first underscore, which is within a sum in"
    return Doubt(f"{where} {count_labels(cut)}, such as {examples_of(cut)}", IN_FILE)


def texts(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of underscores that stand for characters, such as ht_v among labels of four characters.

    A few names have an underscore, and are with it as long as all other labels.
    """
    pairs = zip(stems, names.items(), strict=True)
    cut = {file: label for stem, (file, label) in pairs if "_" in stem}
    lengths = {len(label) for file, label in names.items() if file not in cut}
    if not cut or len(lengths) != 1 or len(names) < FEW + 2 * len(cut):
        return None
    if {len(stem) for stem in stems} != lengths:
        return None
    what = "the label ends at the first underscore, which may stand for a character in"
    return Doubt(f"{what} {count_labels(cut)}, such as {examples_of(cut)}", RENAME)
