"""Describes the labels of a data set, and warns if they look misread.

The label of an image is often in its file name, but names also have extensions, indices, prefixes
and the marks of copies. Each warning gives examples and a remedy.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from crnn_jax import clusters
from crnn_jax.data import label_shapes, label_tables, name_report
from crnn_jax.data.name_report import FEW, advice, count_labels, example_of, examples_of
from crnn_jax.errors import one_line, quote

_MAX_SYMBOLS = 40  # symbols that are listed with their frequencies
_CORRECT = "; correct the label file"
_COPY = re.compile(
    r"( ?\(\d+\)| ?- ?(copy|kopie|copie|copia|kopia|cópia|kopi|副本|コピー)( ?\(\d+\))?"
    r"| (copy|kopie|copie|copia|副本|コピー)( \d+)?)$|^(copy of|kopie von|copie de|copia de) ",
    re.IGNORECASE,
)


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
        f"{_visible(c) if c != ' ' else quote(c)}:{n}" for c, n in symbols[:_MAX_SYMBOLS]
    )
    more = f" and {len(symbols) - _MAX_SYMBOLS} more" if len(symbols) > _MAX_SYMBOLS else ""
    places = dict.fromkeys((0, len(files) // 2, len(files) - 1))
    examples = ", ".join(example_of(files[i], labels[i]) for i in places)
    distinct = f"{len(set(labels))} of them distinct"
    return [
        f"labels: {len(labels)}, {distinct}, {span} characters long ({each})",
        f"symbols by frequency: {shown}{more}",
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
    suffix = {f: t for f, t in rest.items() if label_tables.has_image_suffix(t)}
    if suffix:
        found.append(
            f"{count_labels(suffix)} end in the extension of an image, such as "
            + examples_of(suffix)
            + (advice(files, suffix, "^([^._]+)", "^(.+)[.]") if from_names else _CORRECT)
        )
    rest = {f: t for f, t in rest.items() if f not in suffix}
    if not from_names:
        found += _affixes(rest) + _marks(rest) + _odd_symbols(rest, False, files)
        return found + _zeros(labels)
    if warning := name_report.identifiers(files, labels):
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
            f"{count_labels(copies)} have the mark of a copy, such as {examples_of(copies)}"
            + advice(files, copies, *patterns)
        )
    rest = {f: t for f, t in rest.items() if f not in copies}
    if len(rest) < FEW:
        return found
    structure = name_report.structure(list(rest), list(rest.values()), pattern)
    found += structure
    return found + ([] if structure else _odd_symbols(rest, True, files) + _zeros(labels))


def _affixes(names: dict[str, str]) -> list[str]:
    """Warns if all labels of a label file begin or end with the same characters."""
    labels = list(names.values())
    if len(labels) < FEW:
        return []
    begin, end = name_report.common(labels)
    marks = [("begin", begin), ("end", end)]
    return [
        f"all labels {verb} with {quote(mark)}, such as {examples_of(names)}; correct the label "
        "file if this is not in the images"
        for verb, mark in marks
        if mark and not mark.isalnum()
    ]


def _marks(names: dict[str, str]) -> list[str]:
    """Warns of a label without letters and digits that many images have, such as `?`."""
    label, count = Counter(names.values()).most_common(1)[0] if names else ("", 0)
    others = [other for other in names.values() if other != label]
    is_mark = label and not any(map(str.isalnum, label))
    if not is_mark or count < 3 or len(others) < FEW or 10 * len(set(others)) < 9 * len(others):
        return []
    having = {file: text for file, text in names.items() if text == label}
    return [
        f"{count} labels are {quote(label)}, such as that of {one_line(next(iter(having)))[-60:]}, "
        "and nearly all others differ; if it marks images that nobody can read, remove their rows"
    ]


def _odd_symbols(names: dict[str, str], from_names: bool, files: Sequence[str]) -> list[str]:
    """Warns of symbols that few labels have."""
    if len(names) < FEW:
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
        f"only {count_labels(rare)} of {len(names)} have one of the symbols {symbols}, such as "
        f"{examples_of(rare)}"
    )
    if not from_names:
        return [f"{what}; check these labels"]
    if any(not c.isalnum() for c in odd):
        marks = "".join(re.escape(c) for c in sorted(odd) if not c.isalnum())
        return [what + advice(files, rare, f"^([^{marks}_]+)")]
    return [what + advice(files, rare)]


def _zeros(labels: Sequence[str]) -> list[str]:
    if label_shapes.lost_zeros(labels) > label_shapes.DOUBTFUL:
        return []
    return [
        f"none of the {len(labels)} labels begins with 0, and their lengths differ (such as "
        f"{quote(min(labels, key=len))} and {quote(max(labels, key=len))}): check that they have "
        "not lost leading zeros"
    ]


def _visible(symbol: str) -> str:
    """Escapes the characters of a symbol that cannot be seen."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in symbol)
