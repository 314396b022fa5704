"""Warns of images of one character or kind each, whose names have a class and a counter.

Such sets are cut from captchas, as for a classifier of characters. The class is the folder, or a
part of the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from crnn_jax.data import index_report
from crnn_jax.data.doubt import FEW, IN_FILE, TO_FILE, Doubt, examples_of, with_patterns
from crnn_jax.errors import quote

# A number, perhaps after a word.
_COUNTER = re.compile(r"([^\W\d_]{3,})?[-_ .()]*\d[-_ .()\d]*")
_NUMBER = re.compile(r"\D*\d{1,6}\D*")
_MANY = 8  # folders
_LONGEST_CLASS = 2  # characters
_GROUPS = 4  # fewer classes may be batches


def of_folders(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of names that only number the images of each folder."""
    folders = [os.path.basename(os.path.dirname(file)) for file in names]
    different = set(folders)
    if not all(folders):
        return None
    verb = ""
    are_repeated = len(set(stems)) <= len(stems) / 2 and all(map(_NUMBER.fullmatch, stems))
    if are_repeated or (_are_symbols(folders, stems) and _are_counters(stems, different)):
        verb = "number the images of each folder"
    elif len(different) >= FEW > len(set(stems)):
        verb = "are the same in each folder"
    if not verb:
        return None
    what = f"the names {verb}, and the labels seem to be the names of the folders"
    return Doubt(f"{what}, such as {examples_of(names)}", TO_FILE)  # no pattern sees folders


def _are_symbols(folders: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether nearly all folders are named by one character, and do not only sort the names.

    Names can be sorted by their first character, or by their length.
    """
    different = set(folders)
    single = sum(len(folder) == 1 for folder in different)
    if len(different) < 2 or max(map(len, different)) > _LONGEST_CLASS:
        return False
    are_most = 5 * single >= 4 * len(different) and any(map(str.isalpha, different))
    if single < len(different) and not are_most:
        return False
    pairs = list(zip(folders, stems, strict=True))
    by_first = all(stem.startswith(folder) for folder, stem in pairs)
    return not by_first and not all(folder == str(len(stem)) for folder, stem in pairs)


def _are_counters(stems: Sequence[str], folders: set[str]) -> bool:
    """Whether names in folders of characters are short numbers, or any ones beside letters."""
    if all(map(_NUMBER.fullmatch, stems)):
        return True
    found = [match for match in map(_COUNTER.fullmatch, stems) if match]
    has_letters = len(folders) >= _MANY and any(map(str.isalpha, folders))
    return len(found) == len(stems) and has_letters and len({match[1] for match in found}) <= 2


def letters(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of a text and one of its characters, such as 04K6_K, if texts are repeated."""
    fields = [stem.split("_") for stem in stems]
    if not all(len(parts) == 2 and len(parts[0]) > 2 and len(parts[1]) == 1 for parts in fields):
        return None
    are_inside = all(part.casefold() in text.casefold() for text, part in fields)
    are_repeated = 2 * len({text for text, _ in fields}) <= len(fields)
    if not (are_inside and are_repeated and any(part.isalpha() for _, part in fields)):
        return None
    what = "the names have a text and one of its characters, which may be all that an image shows"
    return with_patterns(f"{what}, such as {examples_of(names)}", names, *index_report.SECOND)


def counted(labels: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of one or two digits before a counter with zeros, such as 700013."""
    if (
        len(labels) < 2 * FEW
        or len(set(map(len, labels))) > 1
        or not all(map(str.isdecimal, labels))
    ):
        return None
    for size in 1, 2:
        tails = [label[size:] for label in labels]
        groups = index_report.grouped([label[:size] for label in labels], tails)
        have_zeros = len(tails[0]) > 2 and all(tail.startswith("0") for tail in tails)
        if have_zeros and len(groups) > 1 and all(map(index_report.counts_up, groups.values())):
            what = f"the names are {size} digit{'s' * (size > 1)} and a counter"
            what = f"{what}, such as {examples_of(names)}"
            if len(groups) < _GROUPS:
                return Doubt(what, IN_FILE)
            return with_patterns(what, names, f"^([0-9]{{{size}}})")
    return None


def between(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of a counter between two separators, such as h-148-jfgh."""
    return next(filter(None, (_between(stems, names, mark) for mark in "-_. ")), None)


def _between(fields: Sequence[str], names: dict[str, str], separator: str) -> Doubt | None:
    parts = [field.split(separator) for field in fields]
    number = len(parts[0])
    if number < 3 or any(len(part) != number or not all(part) for part in parts):
        return None
    if all(map(index_report.SUM.fullmatch, fields)):
        return None
    last = [part[-1] for part in parts]
    are_texts = 2 * len(set(last)) > len(last) and not all(map(index_report.INDEX.fullmatch, last))
    if not are_texts or max(len(part[0]) for part in parts) > _LONGEST_CLASS:
        return None
    for place in range(1, number - 1):
        counters = [part[place] for part in parts]
        groups = index_report.grouped([part[0] for part in parts], counters)
        runs = [group for group in groups.values() if index_report.is_running(group, True, 3)]
        if 2 * sum(map(len, runs)) < len(parts) or not 1 < len(groups) <= len(parts) / 4:
            continue
        mark = re.escape(separator)
        what = f"the names have a counter between {quote(separator)}"
        what = f"{what}, such as {examples_of(names)}"
        if all(part[0].casefold() in part[-1].casefold() for part in parts):
            return Doubt(what, IN_FILE)  # the first part is a character of the last one
        inside = mark if separator == "_" else f"{mark}_"
        return with_patterns(what, names, f"{mark}([^{inside}]+)$", f"^([^{mark}]+)")
    return None
