"""Warns of file names that do not begin with the label of the image.

Names also have extensions, indices, prefixes and hashes. Each warning gives examples, and a pattern
that finds the labels if one is known.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from crnn_jax.data import class_report, ending_report, index_report
from crnn_jax.data.doubt import (
    FEW,
    IN_FILE,
    RENAME,
    TO_FILE,
    Doubt,
    count_labels,
    examples_of,
    with_patterns,
)
from crnn_jax.data.listing import label_of
from crnn_jax.errors import one_line, quote

_RANDOM = re.compile(
    r"[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|tmp[a-z0-9_]{8}",
    re.IGNORECASE,
)
_LONG = re.compile("(?=.*[0-9])(?=.*[a-z])[0-9a-z]{16,}", re.IGNORECASE)  # no label is so long
# What programs call an image that has no name.
_NAMELESS = frozenset([
    "captcha", "download", "image", "images", "index", "screenshot", "unnamed", "untitled",
])  # fmt: skip
_MOST_KINDS = 10
_DECIMAL = re.compile(r"\d+\.\d+")  # a random number, as of a program


def identifiers(files: Sequence[str], labels: Sequence[str]) -> Doubt | None:
    """Warns of names that are random, or that only number the images of a folder."""
    stems = list(map(stem, files))
    shown = examples_of(dict(zip(files, labels, strict=True)))
    folders = [os.path.basename(os.path.dirname(file)) for file in files]
    num_folders = len(set(folders)) if all(folders) else 0
    if len(files) >= FEW and _are_random(stems, num_folders >= FEW):
        what = f"the names look like random identifiers, not like labels, such as {shown}"
        return Doubt(what, TO_FILE)
    return class_report.of_folders(stems, dict(zip(files, labels, strict=True)))


def _are_random(stems: Sequence[str], is_sorted: bool) -> bool:
    """Whether all names are hashes, UUIDs or other identifiers.

    Captchas of 8 hexadecimal digits exist; ones of 12, or of 8 sorted into many folders, do not.
    """
    if all(map(_RANDOM.fullmatch, stems)):
        return True
    if len(set(map(len, stems))) == 1 and 10 * sum(map(_is_long, stems)) >= 9 * len(stems):
        return True
    least = 8 if is_sorted else 12
    are_hexadecimal = all(re.fullmatch("[0-9a-f]+", s) and len(s) >= least for s in stems)
    return are_hexadecimal and any(re.search("[a-f]", s) for s in stems)


def _is_long(text: str) -> bool:
    return bool(_LONG.fullmatch(text))


def folders(names: dict[str, str], pattern: str) -> Doubt | None:
    """Warns of a folder whose names have no label, or an index, if those of the others are labels.

    An example is a set with train/2b4ch.png and test/0.png.

    Args:
      names: the labels by file.
      pattern: data.label_pattern.
    """
    members: dict[str, dict[str, str]] = {}
    for file, label in names.items():
        members.setdefault(os.path.dirname(file), {})[file] = label
    if len(members) < 2:
        return None
    for folder, inside in members.items():
        if len(inside) < 2 * FEW:
            continue
        stems = list(map(stem, inside))
        if doubt := identifiers(list(inside), list(inside.values())):
            return Doubt(f"in {_shown(folder)}, {doubt.what}", RENAME)
        if doubt := index_report.separated(stems, inside, pattern):
            return Doubt(f"in {_shown(folder)}, {doubt.what}", doubt.remedy or RENAME)
    counted = {f: m for f, m in members.items() if index_report.are_counted(list(m.values()))}
    others = [len(t) for folder, m in members.items() if folder not in counted for t in m.values()]
    if counted and min(others, default=3) > 2:  # shorter ones may be all of an alphabet
        folder, inside = next(iter(counted.items()))
        return Doubt(
            f"the names of the {len(inside)} images in {_shown(folder)} look like running numbers, "
            f"not like labels, such as {examples_of(inside)}",
            "; rename them by their texts, or move images without a label out of this folder",
        )
    return None


def _shown(folder: str) -> str:
    return f"{one_line(folder)[-60:]}/" if folder else "the folder itself"


def structure(names: dict[str, str], pattern: str) -> Doubt | None:
    """Warns of indices and prefixes that all names share.

    Args:
      names: the labels by file.
      pattern: data.label_pattern.
    """
    files, labels = list(names), list(names.values())
    stems = list(map(stem, files))
    if len(index_report.series(labels)) == len(labels):
        return index_report.running(names)
    if not pattern and (
        doubt := class_report.counted(labels, names) or class_report.letters(stems, names)
    ):
        return doubt
    if doubt := _fields(labels, names):
        return doubt._replace(patterns=()) if pattern else doubt
    if doubt := index_report.separated(stems, names, pattern):
        return doubt
    if not pattern and (doubt := class_report.between(stems, names)):
        return doubt
    last = [re.split(r"[_\-. ]", stem)[-1] for stem in stems]
    if len(set(labels)) == 1 and index_report.is_running(last, True):
        return index_report.running(names)
    if len(set(labels)) == 1:
        what = f"all {len(labels)} images have the label {quote(labels[0])}"
        return with_patterns(what, files, *index_report.SECOND)
    if doubt := _kinds(stems, labels, names):
        return doubt
    begin, end = common(labels)
    if begin.isdigit() and len(begin) < 3:
        begin = ""
    inner = [label[len(begin) : len(label) - len(end)] for label in labels]
    is_stamp = begin.isdigit() and all(map(str.isdigit, labels))  # such as a time
    if is_stamp or index_report.is_running(inner if begin else labels, bool(begin)):
        return index_report.running(names)
    if index_report.SUM_END.fullmatch(end) or end.isdigit():
        end = ""
    if not begin and not end:
        return None
    proposals: tuple[str, ...] = ()
    whole = begin
    if begin[-1:].isdigit() and all(label[len(begin)].isdigit() for label in labels):
        whole = re.sub(r"[\d.,]+$", "", begin)  # it ends within a number
    if whole or not begin:
        begin, proposals = whole, _after(whole, end, names)
    elif index_report.have_text_second(stems):
        proposals = index_report.SECOND
    marks = [f"begin with {quote(begin)}"] * bool(begin) + [f"end with {quote(end)}"] * bool(end)
    what = f"all labels {' and '.join(marks)}, such as {examples_of(names)}"
    return with_patterns(what, files, *proposals)


def _after(begin: str, end: str, names: dict[str, str]) -> tuple[str, ...]:
    """Returns proposals for labels between a common prefix and suffix, also beside an index."""
    inner = {file: label[len(begin) : len(label) - len(end)] for file, label in names.items()}
    proposal = f"^{re.escape(begin)}([^_]+){re.escape(end)}"
    if {file: label_of(file, proposal) for file in names} != inner:
        return ()  # data.label_pattern cuts the names
    doubt = index_report.separated(list(inner.values()), inner, "")
    more = [pattern for pattern in doubt.patterns if not end] if doubt else []
    return proposal, *(re.sub(r"^\^", lambda _: f"^{re.escape(begin)}", p) for p in more)


def _kinds(stems: Sequence[str], labels: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns if the first field of the names has few values.

    An example is easy_226md.png, where the second field has many, or old_7.png and new_7.png.
    """
    seconds = [stem.split("_")[1] for stem in stems if "_" in stem]
    # Few: each occurs four times on average. Many: at least half of them differ.
    few, many = len(set(labels)), len(set(seconds))
    what = f"the {len(stems)} images have only {few} different labels, such as {examples_of(names)}"
    if len(seconds) < len(stems):
        return None
    if all(map(index_report.INDEX.fullmatch, seconds)) or all(map(_DECIMAL.fullmatch, seconds)):
        return Doubt(what, IN_FILE) if are_kinds(labels) else None
    if 4 * few > len(stems) or 2 * many < len(stems):
        return None
    return with_patterns(what, names, *index_report.SECOND)


def _fields(labels: Sequence[str], names: dict[str, str]) -> Doubt | None:
    """Warns of few kinds before or after a separator, such as red-226md, or 226md.raw."""
    for separator in index_report.SEPARATORS:
        mark = re.escape(separator)
        if not all(0 < label.find(separator) < len(label) - 1 for label in labels):
            continue
        first = [label.split(separator, 1) for label in labels]
        if kinds := _few([head for head, _ in first], [tail for _, tail in first]):
            what = f"begin with {kinds} before {quote(separator)}"
            return _of_kinds(what, names, f"^[^{mark}]+{mark}([^_]+)")
        last = [label.rsplit(separator, 1) for label in labels]
        if kinds := _few([tail for _, tail in last], [head for head, _ in last]):
            what = f"end with {kinds} after {quote(separator)}"
            return _of_kinds(what, names, f"^([^_]+){mark}[^{mark}]+")
    ends = [label[-1:] for label in labels]
    if kinds := _few(ends, [label[:-1] for label in labels]):
        return _of_kinds(f"end with {kinds}", names, f"^([^_]+)[{''.join(sorted(set(ends)))}]")
    return None


def _of_kinds(what: str, names: dict[str, str], proposal: str) -> Doubt:
    what = f"all labels {what}, which may not be in the images, such as {examples_of(names)}"
    return with_patterns(what, names, proposal)


def _few(kinds: Sequence[str], others: Sequence[str]) -> str:
    """Returns the different kinds, if they are few words, or if each occurs with each other part.

    Words in capitals can be of number plates.
    """
    few, many = set(kinds), set(others)
    if not 1 < len(few) <= min(_MOST_KINDS, len(kinds) / 4, len(many) / 4):
        return ""
    if not all(map(str.isalpha, few)) or index_report.are_indices(others):
        return ""
    are_words = max(map(len, few)) > 2 and all(len(k) > 1 and not k.isupper() for k in few)
    are_pairs = len(set(zip(kinds, others, strict=True))) == len(few) * len(many)
    return " or ".join(map(quote, sorted(few))) if are_words or are_pairs else ""


def are_kinds(labels: Sequence[str]) -> bool:
    """Whether labels are a few words that are repeated ten times, such as `ok` and `bad`."""
    different = set(labels)
    is_word = all(len(label) > 1 and label.isalpha() for label in different)
    return is_word and 10 * len(different) <= len(labels)


def some(names: dict[str, str]) -> Doubt | None:
    """Warns of a part of the names that have no label, or more than the label."""
    labels = list(names.values())
    counts = Counter(labels)
    least = max(FEW, len(labels) // 200)
    frequent = {label for label, count in counts.items() if count >= least}
    others = [label for label in labels if label not in frequent]
    if frequent and len(others) >= FEW and 10 * len(set(others)) >= 9 * len(others):
        having = {file: label for file, label in names.items() if label in frequent}
        what = f"{count_labels(having, 'are')} only {' or '.join(map(quote, sorted(frequent)[:3]))}"
        return Doubt(f"{what}, such as {examples_of(having)}, and nearly all others differ")
    places = index_report.series(labels)
    if places:
        files = list(names)
        having = {files[i]: labels[i] for i in places[:3]}
        what = f"{len(places)} labels look like running numbers, such as {examples_of(having)}"
        return Doubt(what, RENAME)
    return _nameless(names) or ending_report.endings(names)


def _nameless(names: dict[str, str]) -> Doubt | None:
    """Warns of random names, and of names such as download.png, among labels."""
    lengths = {len(label) for label in names.values() if label.casefold() not in _NAMELESS}
    having = {
        file: label
        for file, label in names.items()
        if _RANDOM.fullmatch(stem(file))
        # A label of the length of others can be such a word.
        or (label.casefold() in _NAMELESS and len(label) not in lengths)
    }
    if not having or len(names) - len(having) < FEW:
        return None
    what = f"{count_labels(having, 'are')} only the name of a file, such as {examples_of(having)}"
    return Doubt(what, RENAME)


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


def stem(file: str) -> str:
    """Returns the name of a file without its folder and its extension."""
    return os.path.splitext(os.path.basename(file))[0]
