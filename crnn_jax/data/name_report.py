"""Warns of file names that do not begin with the label of the image.

Names also have extensions, indices, prefixes and hashes. Each warning gives examples, and a pattern
that finds the labels if one is known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from crnn_jax.data.listing import label_of
from crnn_jax.errors import one_line, quote

FEW = 5  # images; fewer are too few for a warning
_RANDOM = re.compile(
    r"[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_NUMBERS = "the names look like running numbers, not like labels"
_FILE = (
    "put the labels into a label file (labels.csv with the header file,label), or set "
    "data.label_pattern to a regular expression whose one group is the label"
)
_SEPARATORS = "_- .#@~+,"
_HASH = re.compile(r"(?=.*\d)([0-9a-f]{8,}|[0-9a-f-]{36})", re.IGNORECASE)
_INDEX = re.compile(rf"\d+|{_HASH.pattern}", re.IGNORECASE)
# Proposals for labels behind an underscore.
_SECOND = ("_([^_]+)$", "^[^_]+_([^_]+)", "^[^_]+_(.+)$")
_SUM = re.compile(r"\d{1,3}[-+x*]\d{1,3}=?\??")


def identifiers(files: Sequence[str], labels: Sequence[str]) -> str | None:
    """Warns of names that are random, or that only number the images of a folder."""
    stems = [_stem(file) for file in files]
    shown = examples_of(dict(zip(files, labels, strict=True)))
    if len(files) >= FEW and all(_RANDOM.fullmatch(stem) for stem in stems):
        return f"the names look like random identifiers, not like labels, such as {shown}; {_FILE}"
    folders = [os.path.basename(os.path.dirname(file)) for file in files]
    numbered = all(re.fullmatch(r"\D*\d{1,6}\D*", stem) for stem in stems)
    if all(folders) and numbered and len(set(stems)) <= len(stems) / 2:
        return (
            "the names number the images of each folder, and the labels seem to be the names of "
            f"the folders, such as {shown}; {_FILE}"
        )
    return None


def structure(files: Sequence[str], labels: Sequence[str], pattern: str) -> list[str]:
    """Warns of indices and prefixes that all names share."""
    names = dict(zip(files, labels, strict=True))
    stems = [_stem(file) for file in files]
    if not pattern:
        for separator in _SEPARATORS:
            fields = stems if separator == "_" else labels
            if warning := _index(fields, files, names, separator):
                return [warning]
    running = [re.split(r"[_\-. ]", stem)[-1] for stem in stems]
    if len(set(labels)) == 1 and _is_running(running, True):
        return [f"{_NUMBERS}, such as {examples_of(names)}; {_FILE}"]
    if len(set(labels)) == 1:
        what = f"all {len(labels)} images have the label {quote(labels[0])}"
        return [what + advice(files, files, *_SECOND)]
    if warning := _kinds(stems, labels, names):
        return [warning]
    begin, end = common(labels)
    if begin.isdigit() and len(begin) < 3:
        begin = ""
    inner = [label[len(begin) : len(label) - len(end)] for label in labels]
    is_stamp = begin.isdigit() and all(map(str.isdigit, labels))  # such as a time
    if is_stamp or _is_running(inner if begin else labels, bool(begin)):
        return [f"{_NUMBERS}, such as {examples_of(names)}; {_FILE}"]
    if not end.strip("=?") or end.isdigit():  # sums end in = or =?
        end = ""
    if not begin and not end:
        return []
    marks = [f"begin with {quote(begin)}"] * bool(begin) + [f"end with {quote(end)}"] * bool(end)
    what = f"all labels {' and '.join(marks)}, such as {examples_of(names)}"
    inner = [label[len(begin) : len(label) - len(end)] for label in labels]
    proposal = f"^{re.escape(begin)}([^_]+){re.escape(end)}"
    is_right = [label_of(file, proposal) for file in files] == inner  # not if `pattern` cuts names
    return [what + advice(files, files, *[proposal] * is_right)]


def _kinds(stems: Sequence[str], labels: Sequence[str], names: dict[str, str]) -> str | None:
    """Warns if the first field of the names has few values and the second one many.

    An example is easy_226md.png.
    """
    seconds = [stem.split("_")[1] for stem in stems if "_" in stem]
    # Few: each occurs four times on average. Many: at least half of them differ.
    few, many = len(set(labels)), len(set(seconds))
    if len(seconds) < len(stems) or 4 * few > len(stems) or 2 * many < len(stems):
        return None
    if all(map(_INDEX.fullmatch, seconds)):
        return None
    what = f"the {len(stems)} images have only {few} different labels, such as {examples_of(names)}"
    return what + advice(list(names), names, *_SECOND)


def _index(
    stems: Sequence[str], files: Sequence[str], names: dict[str, str], separator: str
) -> str | None:
    """Warns of an index before or after a separator that all stems have."""
    if not all(separator in stem for stem in stems):
        return None
    if all(map(_SUM.fullmatch, stems)) and not _is_numbered_sum(stems):
        return None  # a captcha of arithmetic, such as 13+4=
    heads = [stem.split(separator)[0].strip() for stem in stems]
    tails = [stem.split(separator, 1)[1].strip() for stem in stems]
    mark = re.escape(separator)
    texts = len(set(tails)) > len(tails) / 2 and not all(_INDEX.fullmatch(tail) for tail in tails)
    is_index = all(_INDEX.fullmatch(head) for head in heads) and len(set(heads)) > len(heads) / 2
    if len(set(tails)) > 1 and (_is_running(heads, False, least=0) or (is_index and texts)):
        what = f"the names begin with an index before {quote(separator)}"
        proposals = f"{mark}([^{mark}]+)$", f"^[^{mark}]+{mark}(.+)$"
        if len({tail.split(separator)[0] for tail in tails}) > len(tails) / 2:
            proposals = f"^[^{mark}]+{mark}([^{mark}]+)", proposals[0]
    elif separator == "_" or len(set(heads)) == 1:
        return None
    else:
        last = [stem.rsplit(separator, 1)[1].strip() for stem in stems]
        if not all(_INDEX.fullmatch(tail) for tail in last):
            return None
        what = f"the names end with an index after {quote(separator)}"
        proposals = f"^([^{mark}]+)", f"^(.+){mark}"
    return f"{what}, such as {examples_of(names)}" + advice(files, files, *proposals)


def _is_numbered_sum(stems: Sequence[str]) -> bool:
    """Whether one of two numbers in each name only counts the images, or has few values."""
    columns = zip(*(re.findall(r"\d+", stem) for stem in stems), strict=True)
    return any(
        _is_running(column, False, least=0) or 3 * len(set(column)) <= len(column)
        for column in columns
    )


def _is_running(names: Sequence[str], has_prefix: bool, least: int = FEW) -> bool:
    """Whether names are distinct numbers, most of which are consecutive."""
    if len(names) < least or not all(re.fullmatch("[0-9]{1,15}", name) for name in names):
        return False
    numbers = sorted(map(int, names))
    if len(set(numbers)) < len(numbers):
        return False
    is_dense = numbers[-1] - numbers[0] < 2 * len(numbers)
    return is_dense and (has_prefix or least == 0 or numbers[0] <= 1)


def common(labels: Sequence[str]) -> tuple[str, str]:
    """Returns the common prefix and the common suffix of all labels."""
    return _affix(labels), _affix([label[::-1] for label in labels])[::-1]


def _affix(labels: Sequence[str]) -> str:
    """Returns the common prefix of all labels, if it is unlikely to occur by chance."""
    first, last = min(labels), max(labels)
    size = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    common = first[: min(size, min(map(len, labels)) - 1)]
    return common if len(labels) * len(common) >= 16 else ""


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]


def advice(files: Sequence[str], names: Iterable[str], *patterns: str) -> str:
    """Returns the remedy: the first pattern that finds a label in every name, if there is one.

    Args:
      files: all names.
      names: those that the warning is about; the first is the example.
      patterns: proposals for data.label_pattern.
    """
    example = next(iter(names))
    for pattern in patterns:
        labels = [label_of(file, pattern) for file in files]
        if all(labels) and not all(map(_HASH.fullmatch, labels)):
            return (
                f"; rename the files, or set --config.data.label_pattern='{pattern}' "
                f"({example_of(example, label_of(example, pattern))})"
            )
    return (
        "; rename the files, or set data.label_pattern to a regular expression whose one group "
        "is the label"
    )


def count_labels(names: dict[str, str]) -> str:
    return f"{len(names)} label{'s' if len(names) != 1 else ''}"


def examples_of(names: dict[str, str]) -> str:
    return ", ".join(example_of(file, label) for file, label in list(names.items())[:3])


def example_of(file: str, label: str) -> str:
    return f"{one_line(file)[-60:]} is {quote(label)}"
