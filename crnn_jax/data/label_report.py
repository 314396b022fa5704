"""Describes the labels of a data set, and warns if they look misread.

The label of an image is often in its file name, but names also have extensions, indices, prefixes
and the marks of copies. Each warning gives examples and a remedy.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from crnn_jax import clusters
from crnn_jax.data import label_shapes
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.data.listing import label_of
from crnn_jax.errors import one_line, quote

_MAX_SYMBOLS = 40  # symbols that are listed with their frequencies
_RANDOM = re.compile(
    r"[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_NUMBERS = "the names look like running numbers, not like labels"
_FILE = (
    "put the labels into a label file (labels.csv with the header file,label), or set "
    "data.label_pattern to a regular expression whose one group is the label"
)
_CORRECT = "; correct the label file"
_FEW = 5  # images; fewer are too few for a warning
_COPY = re.compile(
    r"( ?\(\d+\)| ?- ?(copy|kopie|copie|copia|kopia|cópia|kopi|副本|コピー)( ?\(\d+\))?"
    r"| (copy|kopie|copie|copia|副本|コピー)( \d+)?)$|^(copy of|kopie von|copie de|copia de) ",
    re.IGNORECASE,
)
_SEPARATORS = "_- .#@~+,"
_INDEX = re.compile(r"\d+|[0-9a-f]{8,}|[0-9a-f-]{36}", re.IGNORECASE)


def summary(files: Sequence[str], labels: Sequence[str], marks: str = "separate") -> list[str]:
    """Returns lines with the number of labels, their lengths, their symbols and three examples."""
    # Split one by one and twice, because millions of lists would take hundreds of megabytes.
    lengths = sorted(Counter(len(clusters.split(label, marks)) for label in labels).items())
    span = f"{lengths[0][0]}" + (f" to {lengths[-1][0]}" if len(lengths) > 1 else "")
    each = ", ".join(f"{length}: {count}" for length, count in lengths[:12])
    if len(lengths) > 12:
        each += ", ..."
    split = (clusters.split(label, marks) for label in labels)
    symbols = Counter(itertools.chain.from_iterable(split)).most_common()
    shown = " ".join(
        f"{one_line(c) if c != ' ' else quote(c)}:{n}" for c, n in symbols[:_MAX_SYMBOLS]
    )
    more = f" and {len(symbols) - _MAX_SYMBOLS} more" if len(symbols) > _MAX_SYMBOLS else ""
    places = dict.fromkeys((0, len(files) // 2, len(files) - 1))
    examples = ", ".join(_example(files[i], labels[i]) for i in places)
    return [
        f"labels: {len(labels)}, {len(set(labels))} of them different, of {span} symbols ({each})",
        f"symbols and how often: {shown}{more}",
        f"examples: {examples}",
    ]


def warnings(
    files: Sequence[str], labels: Sequence[str], from_names: bool, pattern: str = ""
) -> list[str]:
    """Returns what looks wrong in the labels of a data set.

    Args:
      files: the file names.
      labels: the labels, in the same order.
      from_names: whether the labels are from the file names.
      pattern: data.label_pattern.
    """
    found: list[str] = []
    rest = dict(zip(files, labels, strict=True))
    suffix = {f: t for f, t in rest.items() if _has_suffix(t)}
    if suffix:
        found.append(
            f"{_labels(suffix)} end in the extension of an image, such as {_examples(suffix)}"
            + (_advice(files, suffix, "^([^._]+)", "^(.+)[.]") if from_names else _CORRECT)
        )
    rest = {f: t for f, t in rest.items() if f not in suffix}
    if not from_names:
        return found + _affixes(rest) + _odd_symbols(rest, False, files) + _zeros(labels)
    if warning := _identifiers(files, labels):
        return [*found, warning]
    copies = {f: t for f, t in rest.items() if _COPY.search(t)}
    if len(copies) == len(rest) and len({_COPY.sub("", label) for label in copies.values()}) == 1:
        copies = {}  # numbered by a file manager
    if copies:
        # A mark can be in front of the label or behind it.
        in_front = [t for t in copies.values() if _COPY.match(t)]
        patterns = ["([^ ._]+)$" if in_front else "^([^ (._]+)"]
        if 0 < len(in_front) < len(copies):
            patterns = []
        found.append(
            f"{_labels(copies)} have the mark of a copy, such as {_examples(copies)}"
            + _advice(files, copies, *patterns)
        )
    rest = {f: t for f, t in rest.items() if f not in copies}
    if len(rest) < _FEW:
        return found
    structure = _structure(list(rest), list(rest.values()), pattern)
    found += structure
    return found + ([] if structure else _odd_symbols(rest, True, files) + _zeros(labels))


def _identifiers(files: Sequence[str], labels: Sequence[str]) -> str | None:
    """Warns of names that are random, or that only number the images of a folder."""
    stems = [_stem(file) for file in files]
    shown = _examples(dict(zip(files, labels, strict=True)))
    if len(files) >= _FEW and all(_RANDOM.fullmatch(stem) for stem in stems):
        return f"the names look like random identifiers, not like labels, such as {shown}; {_FILE}"
    folders = [os.path.basename(os.path.dirname(file)) for file in files]
    numbered = all(re.fullmatch(r"\D*\d{1,6}\D*", stem) for stem in stems)
    if all(folders) and numbered and len(set(stems)) <= len(stems) / 2:
        return (
            "the names number the images of each folder, and the labels seem to be the names of "
            f"the folders, such as {shown}; {_FILE}"
        )
    return None


def _affixes(names: dict[str, str]) -> list[str]:
    """Warns if all labels of a label file begin or end with the same characters."""
    labels = list(names.values())
    if len(labels) < _FEW:
        return []
    begin, end = _common(labels)
    marks = [("begin", begin), ("end", end)]
    return [
        f"all labels {verb} with {quote(mark)}, such as {_examples(names)}; correct the label file "
        "if this is not in the images"
        for verb, mark in marks
        if mark and not mark.isalnum()
    ]


def _structure(files: Sequence[str], labels: Sequence[str], pattern: str) -> list[str]:
    """Warns of indices and prefixes that all names share."""
    names = dict(zip(files, labels, strict=True))
    stems = [_stem(file) for file in files]
    if not pattern:
        for separator in _SEPARATORS:
            if warning := _index(stems, files, names, separator):
                return [warning]
    running = [re.split(r"[_\-. ]", stem)[-1] for stem in stems]
    if len(set(labels)) == 1 and _is_running(running, True):
        return [f"{_NUMBERS}, such as {_examples(names)}; {_FILE}"]
    if len(set(labels)) == 1:
        what = f"all {len(labels)} images have the label {quote(labels[0])}"
        return [what + _advice(files, files, "_([^_]+)$", "^[^_]+_(.+)$")]
    begin, end = _common(labels)
    if begin.isdigit() and len(begin) < 3:
        begin = ""
    inner = [label[len(begin) : len(label) - len(end)] for label in labels]
    is_stamp = begin.isdigit() and all(map(str.isdigit, labels))  # such as a time
    if is_stamp or _is_running(inner if begin else labels, bool(begin)):
        return [f"{_NUMBERS}, such as {_examples(names)}; {_FILE}"]
    if begin:
        what = f"all labels begin with {quote(begin)}, such as {_examples(names)}"
        return [what + _advice(files, files, f"^{re.escape(begin)}([^_]+)")]
    if end and not end.isdigit():
        what = f"all labels end with {quote(end)}, such as {_examples(names)}"
        return [what + _advice(files, files, f"^([^_]+){re.escape(end)}")]
    return []


def _index(
    stems: Sequence[str], files: Sequence[str], names: dict[str, str], separator: str
) -> str | None:
    """Warns of an index before or after a separator that all names have."""
    if not all(separator in stem for stem in stems):
        return None
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
        if not all(tail.isdigit() for tail in last) or max(map(len, last)) > 6:
            return None
        what = f"the names end with an index after {quote(separator)}"
        proposals = f"^([^{mark}]+)", f"^(.+){mark}"
    return f"{what}, such as {_examples(names)}" + _advice(files, files, *proposals)


def _odd_symbols(names: dict[str, str], from_names: bool, files: Sequence[str]) -> list[str]:
    """Warns of symbols that few labels have."""
    if len(names) < _FEW:
        return []
    counts = Counter(c for label in names.values() for c in set(label))
    median = sorted(counts.values())[len(counts) // 2] if counts else 0
    odd = {c for c, n in counts.items() if n <= 2 and median >= 20}
    if from_names:
        odd |= {c for c, n in counts.items() if not c.isalnum() and 2 * n < len(names)}
        for kind in (str.isdigit, str.isalpha):
            members = {c for c in counts if kind(c)}
            having = sum(bool(members & set(label)) for label in names.values())
            if 0 < 5 * having < len(names):
                odd |= members
    if not odd:
        return []
    rare = {f: t for f, t in names.items() if odd & set(t)}
    symbols = quote("".join(sorted(odd)))
    what = (
        f"only {_labels(rare)} of {len(names)} have one of the symbols {symbols}, such as "
        f"{_examples(rare)}"
    )
    if not from_names:
        return [f"{what}; check these labels"]
    if any(not c.isalnum() for c in odd):
        marks = "".join(re.escape(c) for c in sorted(odd) if not c.isalnum())
        return [what + _advice(files, rare, f"^([^{marks}_]+)")]
    return [what + _advice(files, rare)]


def _zeros(labels: Sequence[str]) -> list[str]:
    if label_shapes.lost_zeros(labels) > 0.12:
        return []
    return [
        f"none of the {len(labels)} labels begins with 0, and their lengths differ (such as "
        f"{quote(min(labels, key=len))} and {quote(max(labels, key=len))}): check that they have "
        "not lost leading zeros"
    ]


def _is_running(names: Sequence[str], has_prefix: bool, least: int = _FEW) -> bool:
    """Whether names are distinct numbers, most of which are consecutive."""
    if len(names) < least or not all(re.fullmatch("[0-9]{1,15}", name) for name in names):
        return False
    numbers = sorted(map(int, names))
    if len(set(numbers)) < len(numbers):
        return False
    is_dense = numbers[-1] - numbers[0] < 2 * len(numbers)
    return is_dense and (has_prefix or least == 0 or numbers[0] <= 1)


def _common(labels: Sequence[str]) -> tuple[str, str]:
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


def _has_suffix(label: str) -> bool:
    return os.path.splitext(label)[1].lower() in IMAGE_SUFFIXES


def _advice(files: Sequence[str], names: Iterable[str], *patterns: str) -> str:
    """Returns the remedy: the first pattern that finds a label in every name, if there is one.

    Args:
      files: all names.
      names: those that the warning is about; the first is the example.
      patterns: proposals for data.label_pattern.
    """
    example = next(iter(names))
    for pattern in patterns:
        if all(label_of(file, pattern) for file in files):
            return (
                f"; rename the files, or set --config.data.label_pattern='{pattern}' "
                f"({_example(example, label_of(example, pattern))})"
            )
    return (
        "; rename the files, or set data.label_pattern to a regular expression whose one group "
        "is the label"
    )


def _labels(names: dict[str, str]) -> str:
    return f"{len(names)} label{'s' if len(names) != 1 else ''}"


def _examples(names: dict[str, str]) -> str:
    return ", ".join(_example(file, label) for file, label in list(names.items())[:3])


def _example(file: str, label: str) -> str:
    return f"{one_line(file)[-60:]} is {quote(label)}"
