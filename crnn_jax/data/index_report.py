"""Warns of indices in file names: running numbers, and numbers before or after the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crnn_jax.data.doubt import FEW, IN_FILE, TO_FILE, Doubt, examples_of, with_patterns
from crnn_jax.errors import quote

HASH = re.compile(r"(?=.*\d)([0-9a-f]{8,}|[0-9a-f-]{36})", re.IGNORECASE)
INDEX = re.compile(rf"\d+|{HASH.pattern}", re.IGNORECASE)
# Signs of arithmetic, also the wide and other forms that file names can have.
SIGN = r"[-+xX*/\u00d7\u00f7\u2044\u2212\u2215\uff0a\uff0b\uff0d\uff0f]"
SUM_END = re.compile("( ?[=?\uff1d\uff1f])+")
EQUALS = r"[=\uff1d] ?[?\uff1f]?"
# A captcha of arithmetic, such as 13+4=
SUM = re.compile(rf"\d{{1,3}}( ?{SIGN} ?\d{{1,3}})+ ?[=\uff1d]? ?[?\uff1f]?")
_DATE = r"(?:19|20)\d\d(?P<d>[-._]?)[01]\d(?P=d)[0-3]\d"
_TIME = r"[-_ .T]+[0-2]\d(?P<t>[-._:]?)[0-5]\d(?:(?P=t)[0-5]\d)?"
_STAMP = re.compile(rf"{_DATE}(?:{_TIME})?")
_REST = r"(?P<mark>[-_ .]+)(?P<rest>.+)"
_DATED = re.compile(rf"{_DATE}{_TIME}{_REST}"), re.compile(rf"{_DATE}{_REST}")
_SHORT = re.compile(r"\d{1,3}")
_UNLESS = (
    "; if it is not in the images, rename the files, or set data.label_pattern to a regular "
    "expression whose one group is the label"
)
SEPARATORS = "_- .#@~+,);\u2013\uff3f"
# Proposals for labels after an underscore.
SECOND = ("_([^_]+)$", "^[^_]+_([^_]+)", "^[^_]+_(.+)$")
_LONG = 8  # digits, as of a time
_SERIES = 10  # images on average
_DIGITS = "0123456789"
_NUMBER = re.compile("[0-9]{1,15}")
_NUMBERED = re.compile(r"[ _\-.]*\(?(\d+)\)?")


def running(names: dict[str, str]) -> Doubt:
    """Returns the warning that names are numbers of images."""
    what = f"the names look like running numbers, not like labels, such as {examples_of(names)}"
    if have_text_second([Path(file).stem for file in names]):
        return with_patterns(what, names, *SECOND)
    has_more = any(re.search(r"[^\W\d_]", Path(f).stem[len(t) :]) for f, t in names.items())
    return Doubt(what, IN_FILE if has_more else TO_FILE)


def have_text_second(stems: Sequence[str]) -> bool:
    """Whether all names have a second field after an underscore, and these are different texts."""
    seconds = [stem.split("_")[1] for stem in stems if "_" in stem]
    are_different = 2 * len(set(seconds)) > len(stems) == len(seconds)
    return are_different and not are_indices(seconds)


def separated(stems: Sequence[str], names: dict[str, str], pattern: str) -> Doubt | None:
    """Warns of a date or an index that all names have before or after the label.

    With a pattern, its labels are checked like names. Numbers that can be in the images are then
    right, because the pattern keeps them.
    """
    labels = list(names.values())
    texts = labels if pattern else stems
    doubt = _dated(texts, names)
    for separator in SEPARATORS:
        fields = texts if separator == "_" else labels
        doubt = doubt or _index(fields, names, separator, bool(pattern))
    doubt = doubt or _glued(labels, names)
    if pattern and doubt:  # the proposals are for whole names
        return None if doubt.remedy else doubt._replace(patterns=())
    return doubt


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
    """Returns the places of labels that are running numbers, also after the same letters.

    With letters, they are reported if they are all labels, such as a1 to a29 and b1 to b29, or a
    part of them after three or more letters, such as captcha0 to captcha9. Numbers alone are
    reported if they are a part of the labels, and the others are longer than two characters:
    shorter ones may be the whole alphabet.
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
    words = {prefix for prefix in counted if len(prefix) > 2 and prefix.rstrip().isalpha()}
    found = [i for prefix in words for i in counted[prefix]]
    others = [len(label) for label in labels if not _NUMBER.fullmatch(label)]
    if others and min(others) > 2:
        found += _first_numbers(labels)
    return sorted(found)


def _first_numbers(labels: Sequence[str]) -> list[int]:
    """Returns the places of the labels that count from 0 or 1. Larger numbers can be labels."""
    places = [i for i, label in enumerate(labels) if _NUMBER.fullmatch(label)]
    found: list[int] = []
    for place in sorted(places, key=lambda place: int(labels[place])):
        if int(labels[place]) > (int(labels[found[-1]]) + 2 if found else 1):
            break
        found.append(place)
    return found if are_counted([labels[i] for i in found]) else []


def is_numbered(labels: Sequence[str]) -> bool:
    """Whether a browser or file manager has numbered one name: a.png, a (1).png, a (2).png."""
    base = min(labels, key=len)
    rest = [label[len(base) :] for label in labels if label != base]
    if base[-1:].isdecimal() or not all(label.startswith(base) for label in labels):
        return False
    numbers = [found[1] for found in map(_NUMBERED.fullmatch, rest) if found]
    return len(numbers) == len(labels) - 1 and is_running(numbers, False)


def are_counted(names: Sequence[str]) -> bool:
    """Whether names are running numbers. Three or four must be counted from 0 or 1."""
    are_few = 2 < len(names) < FEW and all(map(str.isdecimal, names))
    return counts_up(names) if are_few else is_running(names, False)


def is_running(names: Sequence[str], has_prefix: bool, least: int = FEW) -> bool:
    """Whether names are distinct numbers, most of which are consecutive.

    Args:
      names: the names.
      has_prefix: whether the numbers are after a prefix. Others start at 0 or 1, or they fill a
        small share of the numbers with so many digits.
      least: how many names are enough. With 0, the first number can be any.
    """
    if len(names) < least or not all(map(_NUMBER.fullmatch, names)):
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


def _dated(stems: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of a date, with or without a time, before all labels."""
    if not all("0" <= stem[:1] <= "9" for stem in stems) or all(map(_STAMP.fullmatch, stems)):
        return None
    for form in _DATED:
        found = list(filter(None, map(form.fullmatch, stems)))
        if len(found) == len(stems):
            break
    else:
        return None
    rests = [match["rest"] for match in found]
    if 4 * len(set(rests)) <= len(rests) or are_indices(rests):  # the date is the label
        return None
    signs = {c for match in found for c in match.string[: match.start("mark")] if not c.isdigit()}
    inside = re.escape("".join(sorted(signs)))
    marks = {re.escape(match["mark"]) for match in found}
    patterns = [f"^[0-9{inside}]+{mark}([^_]+)" for mark in marks if len(marks) == 1]
    what = f"the names begin with a date, such as {examples_of(names)}"
    return with_patterns(what, names, *patterns)


def _index(
    fields: Sequence[str], names: dict[str, str], separator: str, is_strict: bool
) -> Doubt | None:
    """Warns of an index before or after a separator that all fields have.

    If `is_strict`, any other number is right.
    """
    if not all(separator in field for field in fields):
        return None
    if all(map(SUM.fullmatch, fields)) and not _is_numbered_sum(fields):
        return None
    heads = [field.split(separator)[0].strip() for field in fields]
    tails = [field.split(separator, 1)[1].strip() for field in fields]
    mark = re.escape(separator)
    texts = len(set(tails)) > len(tails) / 2 and not all(map(INDEX.fullmatch, tails))
    is_index = all(map(INDEX.fullmatch, heads)) and len(set(heads)) > len(heads) / 2
    is_index &= not is_strict or _counts(heads)
    is_index |= len(series(heads)) == len(heads)  # such as img0
    if len(set(tails)) > 1 and (is_running(heads, False, least=0) or (is_index and texts)):
        what = f"the names begin with an index before {quote(separator)}"
        # A label from a name ends before an underscore, and has no space around it.
        inside, rest = (mark, "(.+)$") if separator == "_" else (f"{mark}_", "([^_]+)")
        gap = mark + " *" * (separator != " " and any(f"{separator} " in f for f in fields))
        proposals = f"{gap}([^{inside}]+)$", f"^[^{mark}]+{gap}{rest}"
        if not is_running(heads, False, least=0) and all(map(_SHORT.fullmatch, heads)):
            return Doubt(f"{what}, such as {examples_of(names)}", _UNLESS)  # as on a number plate
        if all(map(SUM.fullmatch, tails)):
            proposals = proposals[::-1]
        elif len({tail.split(separator)[0] for tail in tails}) > len(tails) / 2:
            proposals = f"^[^{mark}]+{gap}([^{inside}]+)", proposals[0]
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
    if separator != " " and any(f" {separator}" in field for field in fields):
        return with_patterns(what, names, f"^([^{mark}]*[^{mark} ]) *{mark}", f"^(.*[^ ]) *{mark}")
    return with_patterns(what, names, f"^([^{mark}]+)", f"^(.+){mark}")


def _glued(labels: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of numbers of the same digits that count the images, such as 0003htmv or htmv0003."""
    if len(labels) < _SERIES or all(map(SUM.fullmatch, labels)):
        return None
    shortest = min(map(len, labels))
    size = min(len(label) - len(label.lstrip(_DIGITS)) for label in labels)
    are_joined = 1 < size < shortest and all(label[size].isalnum() for label in labels)
    if are_joined and _are_numbered(labels, slice(size), slice(size, None)):
        what = f"the names begin with an index of {size} digits, such as {examples_of(names)}"
        return with_patterns(what, names, f"^[0-9]{{{size}}}([^_]+)")
    size = min(len(label) - len(label.rstrip(_DIGITS)) for label in labels)
    are_joined = 1 < size < shortest and all(label[-size - 1].isalnum() for label in labels)
    if are_joined and _are_numbered(labels, slice(-size, None), slice(-size)):
        what = f"the names end with an index of {size} digits, such as {examples_of(names)}"
        return with_patterns(what, names, f"^([^_]+)[0-9]{{{size}}}")
    return None


def _are_numbered(labels: Sequence[str], index: slice, text: slice) -> bool:
    """Whether one part of the labels numbers the other part, whose values mostly differ."""
    are_different = 2 * len({label[text] for label in labels}) > len(labels)
    return are_different and is_running([label[index] for label in labels], True)


def are_indices(texts: Sequence[str]) -> bool:
    """Whether the different ones of these texts are running numbers, times or hashes."""
    return all(map(INDEX.fullmatch, texts)) and _counts(list(set(texts)))


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
    return is_running(numbers, False, 0) if len(numbers) >= _SERIES else counts_up(numbers)


def grouped(keys: Sequence[str], values: Sequence[str]) -> dict[str, list[str]]:
    """Returns the values of each key, in their order."""
    groups: dict[str, list[str]] = {}
    for key, value in zip(keys, values, strict=True):
        groups.setdefault(key, []).append(value)
    return groups


def counts_up(numbers: Sequence[str]) -> bool:
    """Whether these are all the numbers from 0 or 1 on, in any order."""
    values = sorted(map(int, numbers))
    return values[0] <= 1 and values == list(range(values[0], values[0] + len(values)))


def _are_repeats(texts: Sequence[str], numbers: Sequence[str]) -> bool:
    """Whether the numbers count the images of each text, of which there are many."""
    groups = grouped(texts, numbers)
    return 2 * len(groups) >= len(texts) and all(map(counts_up, groups.values()))
