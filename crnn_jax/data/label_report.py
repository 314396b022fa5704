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
from crnn_jax.data import (
    cut_report,
    index_report,
    label_file_report,
    label_shapes,
    label_tables,
    name_report,
    symbol_report,
)
from crnn_jax.data.doubt import (
    CORRECT,
    FEW,
    RENAME,
    Doubt,
    count_labels,
    example_of,
    examples_of,
    with_patterns,
)
from crnn_jax.data.listing import label_of
from crnn_jax.errors import quote

_MAX_SYMBOLS = 40  # symbols that are listed with their frequencies
_COPY = re.compile(
    r"( ?\(\d+\)| ?\uff08\d+\uff09"
    r"| ?- ?(copy|kopie|copie|copia|kopia|cópia|kopi|副本|コピー)( ?\(\d+\))?"
    r"| (copy|kopie|copie|copia|副本|コピー)( \d+)?)$|^(copy of|kopie von|copie de|copia de) ",
    re.IGNORECASE,
)
_WITHOUT_COPY = (
    "^([^ (._]+)", "([^ ._]+)$", r"^([^_]+?)(?: ?\(\d+\))?$", "^([^ \uff08._]+)"
)  # fmt: skip
# In a label, a pattern has cut a name in a wrong place.
_PART = re.compile(r"[()\[\]{}<>\uff08\uff09]|=[^?\uff1f]")


def summary(files: Sequence[str], labels: Sequence[str], marks: str = "separate") -> list[str]:
    """Returns lines with the number of labels, their lengths, their symbols and three examples."""
    # Split one by one and twice, because millions of lists would take hundreds of megabytes.
    lengths = sorted(Counter(len(clusters.split(label, marks)) for label in labels).items())
    span = f"{lengths[0][0]}" + (f" to {lengths[-1][0]}" if len(lengths) > 1 else "")
    each = ", ".join(f"{length}: {count}" for length, count in lengths[:12])
    if len(lengths) > 12:
        each += ", ..."
    unit = "character" if span == "1" else "characters"
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
        f"labels: {len(labels)}, {distinct}, {span} {unit} long ({each})",
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
    names = dict(zip(files, labels, strict=True))
    doubts = _of_names(names, pattern) if from_names else _of_file(names)
    found = [doubt.what + (doubt.remedy or _advice(doubt, names, len(doubts))) for doubt in doubts]
    return found if found and from_names else found + _zeros(labels)


def _of_file(names: dict[str, str]) -> list[Doubt]:
    """Returns what looks wrong in the labels of a label file."""
    found = _suffixes(names, CORRECT)
    rest = {f: t for f, t in names.items() if not label_tables.has_image_suffix(t)}
    found += label_file_report.doubts(rest)
    code = symbol_report.encoded(rest, False)
    code = code or symbol_report.spaced(list(rest.values()), rest, "labels")
    found += [code] if code else _symbols(rest, False)
    texts = {file: label_of(file) for file in names}
    if (doubt := label_file_report.of_names(texts, names)) and not _of_names(texts, ""):
        found.append(doubt)
    return found


def _of_names(names: dict[str, str], pattern: str) -> list[Doubt]:
    """Returns what looks wrong in the labels from file names."""
    stems = list(map(name_report.stem, names))
    if doubt := (
        symbol_report.encoded(names, True)
        or (None if pattern else cut_report.sums(stems, names))
        or (None if pattern else symbol_report.spaced(stems, names, "names"))
    ):
        return [doubt]
    found = _suffixes(names)
    if doubt := name_report.identifiers(list(names), list(names.values())):
        return [*found, doubt]
    if not pattern and (doubt := cut_report.texts(stems, names)):
        return [*found, doubt]
    rest = {f: t for f, t in names.items() if not label_tables.has_image_suffix(t)}
    if len(rest) >= FEW and index_report.is_numbered(list(rest.values())):
        return [*found, index_report.running(rest)]
    copies = {f: t for f, t in rest.items() if _COPY.search(t)}
    if len(copies) == len(rest) and len({_COPY.sub("", label) for label in copies.values()}) == 1:
        copies = {}  # numbered by a file manager
    if copies:
        # A mark can be before the label or after it.
        right = [_COPY.sub("", label) for label in rest.values()]
        patterns = [p for p in _WITHOUT_COPY if [label_of(file, p) for file in rest] == right]
        what = f"{count_labels(copies, 'have')} the mark of a copy, such as {examples_of(copies)}"
        found.append(with_patterns(what, copies, *patterns))
    rest = {f: t for f, t in rest.items() if f not in copies}
    if len(rest) < FEW:
        doubt = None if pattern else index_report.of_few(list(map(name_report.stem, rest)), rest)
        return [*found, doubt] if doubt else found
    if doubt := (
        symbol_report.spaced(list(rest.values()), rest, "names")
        or name_report.structure(rest, pattern)
        or name_report.folders(rest, pattern)
        or name_report.some(rest)
    ):
        return [*found, doubt]
    return found + _symbols(rest, True)


def _suffixes(names: dict[str, str], remedy: str = "") -> list[Doubt]:
    """Warns of labels that end in the extension of an image."""
    having = {f: t for f, t in names.items() if label_tables.has_image_suffix(t)}
    if not having:
        return []
    what = (
        f"{count_labels(having, 'end')} in the extension of an image, such as {examples_of(having)}"
    )
    return [with_patterns(what, having, "^([^._]+)", "^(.+)[.]")._replace(remedy=remedy)]


def _symbols(names: dict[str, str], from_names: bool) -> list[Doubt]:
    return symbol_report.odd(names, from_names) or symbol_report.look_alikes(names, from_names)


def _advice(doubt: Doubt, names: dict[str, str], num_doubts: int) -> str:
    """Returns the remedy: the first pattern that finds a label in every name, if there is one.

    Args:
      doubt: what looks wrong.
      names: all labels by file.
      num_doubts: how many doubts there are. A pattern that does not leave fewer is not proposed.
    """
    have_none = False
    for pattern in filter(str.isprintable, doubt.patterns):
        found = {file: label_of(file, pattern) for file in names}
        labels = list(found.values())
        if found == names or not all(labels) or all(map(index_report.HASH.fullmatch, labels)):
            continue
        doubted = [found[file] for file in doubt.files]
        # Copies of one image are rarer than three screenshots.
        are_none = len(set(doubted)) == 1 or all(map(index_report.HASH.fullmatch, doubted))
        if (len(doubted) > 2 and are_none) or _cuts_texts(doubted, names):
            have_none = True
            continue
        if any(map(_PART.search, labels)) or any(text != text.strip() for text in labels):
            continue
        left = len(_of_names(found, pattern))
        # A number beside the label is right only if the user has written a pattern that keeps it.
        if left < num_doubts and (left or not index_report.separated(labels, found, "")):
            return (
                f"; rename the files, or set --config.data.label_pattern='{pattern}' "
                f"({example_of(doubt.files[0], doubted[0])})"
            )
    if have_none:
        return RENAME
    return (
        "; rename the files, or set data.label_pattern to a regular expression whose one group "
        "is the label"
    )


def _cuts_texts(after: Sequence[str], names: dict[str, str]) -> bool:
    """Whether a pattern shortens a part of the labels, although all labels have one length.

    Then the mark that it cuts off stands for a character, such as one that nobody can read.
    """
    lengths = set(map(len, names.values()))
    is_part = len(after) < len(names)
    return is_part and len(lengths) == 1 and not lengths.issuperset(map(len, after))


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
