"""Warns of indices in file names: running numbers, and numbers before or behind the label."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crnn_jax.data.doubt import FEW, IN_FILE, Doubt, examples_of, with_patterns
from crnn_jax.errors import quote

HASH = re.compile(r"(?=.*\d)([0-9a-f]{8,}|[0-9a-f-]{36})", re.IGNORECASE)
INDEX = re.compile(rf"\d+|{HASH.pattern}", re.IGNORECASE)
SUM = re.compile(r"\d{1,3}( ?[-+x*] ?\d{1,3})+ ?=? ?\??")  # a captcha of arithmetic, such as 13+4=
_SHORT = re.compile(r"\d{1,3}")
_UNLESS = (
    "; if it is not in the images, rename the files, or set data.label_pattern to a regular "
    "expression whose one group is the label"
)
_SEPARATORS = "_- .#@~+,"
_LONG = 8  # digits, as of a time
_SERIES = 10  # images on average
_NUMBERED = re.compile(r"[ _\-.]*\(?(\d+)\)?")


def running(names: dict[str, str]) -> Doubt:
    """Returns the warning that names are numbers of images."""
    what = f"the names look like running numbers, not like labels, such as {examples_of(names)}"
    return Doubt(what, IN_FILE)


def separated(stems: Sequence[str], names: dict[str, str], pattern: str) -> Doubt | None:
    """Warns of an index that all names have before or behind a separator."""
    for separator in "" if pattern else _SEPARATORS:
        fields = stems if separator == "_" else list(names.values())
        if doubt := _index(fields, names, separator):
            return doubt
    return None


def of_few(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of an index before the label of fewer than FEW images, if they are counted from 0 or 1.

    So few images show no other structure.
    """
    heads = [re.split(r"[_\-. ]", stem) for stem in stems]
    if len(stems) < 2 or not all(len(head) > 1 and head[0].isdecimal() for head in heads):
        return None
    numbers = sorted(int(head[0]) for head in heads)
    if numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    return separated(stems, names, "")


def series(labels: Sequence[str]) -> list[int]:
    """Returns the places of labels that are running numbers behind the same letters.

    They are reported if they are all labels, such as a1 to a29 and b1 to b29, or a part of them
    behind three or more letters, such as captcha0 to captcha9.
    """
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        if (parts := re.fullmatch(r"(.*\D)\d+", label)) and not SUM.fullmatch(label):
            groups.setdefault(parts[1], []).append(place)
    counted = {
        prefix: places
        for prefix, places in groups.items()
        if is_running([labels[i][len(prefix) :] for i in places], True)
    }
    found = [i for places in counted.values() for i in places]
    if len(found) == len(labels) >= _SERIES * len(counted):
        return sorted(found)
    words = {prefix for prefix in counted if len(prefix) > 2 and prefix.isalpha()}
    return sorted(i for prefix in words for i in counted[prefix])


def is_numbered(labels: Sequence[str]) -> bool:
    """Whether a browser or file manager has numbered one name: a.png, a (1).png, a (2).png."""
    base = min(labels, key=len)
    rest = [label[len(base) :] for label in labels if label != base]
    if base[-1:].isdecimal() or not all(label.startswith(base) for label in labels):
        return False
    numbers = [found[1] for found in map(_NUMBERED.fullmatch, rest) if found]
    return len(numbers) == len(labels) - 1 and is_running(numbers, False)


def is_running(names: Sequence[str], has_prefix: bool, least: int = FEW) -> bool:
    """Whether names are distinct numbers, most of which are consecutive.

    Args:
      names: the names.
      has_prefix: whether the numbers are behind a prefix. Others start at 0 or 1, or they fill a
        small share of the numbers with so many digits.
      least: how many names are enough. With 0, the first number can be any.
    """
    if len(names) < least or not all(re.fullmatch("[0-9]{1,15}", name) for name in names):
        return False
    numbers = sorted(map(int, names))
    if len(set(numbers)) < len(numbers):
        return False
    span = numbers[-1] - numbers[0]
    if span >= 2 * len(numbers):
        return False
    # Ten random numbers are all in the same fifth of the range once in 200,000 sets.
    is_narrow = len(names) >= 10 and 5 * span < 10 ** max(map(len, names))
    return has_prefix or least == 0 or numbers[0] <= 1 or is_narrow


def _index(fields: Sequence[str], names: dict[str, str], separator: str) -> Doubt | None:
    """Warns of an index before or behind a separator that all fields have."""
    if not all(separator in field for field in fields):
        return None
    if all(map(SUM.fullmatch, fields)) and not _is_numbered_sum(fields):
        return None
    heads = [field.split(separator)[0].strip() for field in fields]
    tails = [field.split(separator, 1)[1].strip() for field in fields]
    mark = re.escape(separator)
    texts = len(set(tails)) > len(tails) / 2 and not all(map(INDEX.fullmatch, tails))
    is_index = all(map(INDEX.fullmatch, heads)) and len(set(heads)) > len(heads) / 2
    if len(set(tails)) > 1 and (is_running(heads, False, least=0) or (is_index and texts)):
        what = f"the names begin with an index before {quote(separator)}"
        proposals = f"{mark}([^{mark}]+)$", f"^[^{mark}]+{mark}(.+)$"
        if not is_running(heads, False, least=0) and all(map(_SHORT.fullmatch, heads)):
            return Doubt(f"{what}, such as {examples_of(names)}", _UNLESS)  # as on a number plate
        if all(map(SUM.fullmatch, tails)):
            proposals = proposals[::-1]
        elif len({tail.split(separator)[0] for tail in tails}) > len(tails) / 2:
            proposals = f"^[^{mark}]+{mark}([^{mark}]+)", proposals[0]
        return with_patterns(f"{what}, such as {examples_of(names)}", names, *proposals)
    if separator == "_" or len(set(heads)) == 1:
        return None
    last = [field.rsplit(separator, 1)[1].strip() for field in fields]
    if not all(map(INDEX.fullmatch, last)):
        return None
    if not _counts(last):
        return Doubt(
            f"the names end with a number after {quote(separator)}, such as {examples_of(names)}",
            _UNLESS,
        )
    what = f"the names end with an index after {quote(separator)}, such as {examples_of(names)}"
    return with_patterns(what, names, f"^([^{mark}]+)", f"^(.+){mark}")


def _counts(numbers: Sequence[str]) -> bool:
    """Whether these are indices, times or hashes, not other numbers, as on a number plate."""
    if not all(map(str.isdecimal, numbers)) or min(map(len, numbers)) >= _LONG:
        return True
    return is_running(numbers, False, least=0) or 2 * len(set(numbers)) <= len(numbers)


def _is_numbered_sum(fields: Sequence[str]) -> bool:
    """Whether names such as 481-3 or 3-481+5 are a text and an index, not a difference.

    Then the first or the last number counts the images, or those of each other number.
    """
    if not all("-" in field for field in fields):
        return False
    ends = [field.split("-")[0] for field in fields], [field.split("-")[-1] for field in fields]
    if any(map(_count_images, ends)):
        return True
    are_two = all(re.fullmatch(r"\d+-\d+", field) for field in fields)
    return are_two and (_are_repeats(*ends) or _are_repeats(*ends[::-1]))


def _count_images(numbers: Sequence[str]) -> bool:
    """Whether these number the images. A few random numbers can be dense by chance."""
    if not all(map(str.isdecimal, numbers)):
        return False
    return is_running(numbers, False, 0) if len(numbers) >= _SERIES else _is_counted(numbers)


def _is_counted(numbers: Sequence[str]) -> bool:
    """Whether these are all the numbers from 0 or 1 on, in any order."""
    values = sorted(map(int, numbers))
    return values[0] <= 1 and values == list(range(values[0], values[0] + len(values)))


def _are_repeats(texts: Sequence[str], numbers: Sequence[str]) -> bool:
    """Whether the numbers count the images of each text, of which there are many."""
    groups: dict[str, list[str]] = {}
    for text, number in zip(texts, numbers, strict=True):
        groups.setdefault(text, []).append(number)
    return 2 * len(groups) >= len(texts) and all(map(_is_counted, groups.values()))
