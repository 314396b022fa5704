"""Chooses the label files of a folder.

The format of a label file is recognized by its extension and its content:

.csv .tsv        a table, with or without a header: label_tables.py
.txt             a list of lines, or a table: label_lists.py; also a text file for each image
.json .jsonl     label_json.py
.parquet         with or without the images: parquet.py

`labels.csv` in the folder itself is always read, and hides other label files. Otherwise all label
files in the folder and its subfolders are read, such as one each in `train` and `val`.
"""

from __future__ import annotations

import itertools
import os
import re
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from crnn_jax.data import (
    label_file_names,
    label_json,
    label_lists,
    label_rows,
    label_tables,
    parquet,
    part_names,
    text_files,
)
from crnn_jax.data.label_columns import IsImage
from crnn_jax.data.label_lists import NoLabelsError
from crnn_jax.data.label_rows import Listing
from crnn_jax.data.label_tables import LABELS_FILE, DamagedError, Labels, UnrelatedTableError
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, brief, one_line
from crnn_jax.runtime import files

__all__ = ["FILE_NAMES", "LABELS_FILE", "read", "search"]

FILE_NAMES = "the file names"
MAX_BYTES = 2**28
_SMALL = 2**20  # bytes; files of an unknown form that are searched for the names of images
_MOST_SEARCHED = 100  # of these files
_SPREADSHEETS = (".xls", ".xlsx", ".ods", ".numbers")
_ADVICE = dict.fromkeys((*_SPREADSHEETS, ".xml"), "save it as CSV in UTF-8")

_UNKNOWN = (
    "it does not name images of this folder in the form of a label file, such as a table with the "
    "header file,label"
)
_UNKNOWN_JSON = _UNKNOWN.replace("a table with the header file,label", '{"a.png": "label"}')
_FORMAT = "its format is not known; if it has the labels, save them as CSV in UTF-8"

_Reader = Callable[[str, str, IsImage], Labels | None]
_READERS: dict[str, _Reader] = {
    ".csv": label_tables.read,
    ".tsv": label_tables.read,
    **dict.fromkeys((".txt", ".list", ".lst"), label_lists.lines),
    ".json": label_json.read,
    ".jsonl": label_json.lines,
    ".ndjson": label_json.lines,
}
_TABLES = frozenset({*_READERS, parquet.SUFFIX} - {".txt"})
SUFFIXES = frozenset({*_READERS, parquet.SUFFIX, *_ADVICE})


class Found(NamedTuple):
    """The label files of a folder."""

    listing: Listing | None  # None: the file names are the labels; then the following is known
    warnings: tuple[str, ...] = ()  # which files above the images are not used, and why
    # Why files beside the images can be neither, by name.
    foreign: Mapping[str, str] = types.MappingProxyType({})


def read(tree: Tree) -> Listing | None:
    """Reads the label files of a folder. None if there are none; then file names are the labels.

    Raises:
      OSError: a label file cannot be read.
      DataError: a label file has no known format, or it is too long or damaged.
    """
    return search(tree).listing


def search(tree: Tree) -> Found:
    """Like `read`. Also names the files that may contain labels but are not used."""
    if os.path.lexists(tree.folder / LABELS_FILE):
        return Found(_of_labels_file(tree))
    texts = text_files.find(tree)
    readers, reasons = _open_all(tree, set(texts.values()))
    if readers:
        _refuse_damaged(reasons, [name for name, _ in readers])
        found = label_rows.collect(tree, readers)
        return Found(found._replace(warnings=(*found.warnings, *_first(_unused(reasons)))))
    if texts and 2 * len(texts) >= len(tree.images):
        others = {name: why for name, why in reasons.items() if not name.lower().endswith(".txt")}
        _refuse_damaged(others, ["the text files of the images"])
        found = _of_texts(tree, texts)
        return Found(found._replace(warnings=(*found.warnings, *_first(_unused(others)))))
    errors = [reason for reason in reasons.values() if isinstance(reason, DataError)]
    if errors and not tree.images:
        raise errors[0]
    # A list of images does not hide their names, unless it is that of a part, which is not used.
    beside = [
        name
        for name in tree.foreign()
        if not isinstance(reasons.get(name), NoLabelsError) or part_names.of_file(name)
    ]
    unused = _unused({name: reasons[name] for name in reasons.keys() - set(beside)})
    foreign = {name: _why_foreign(name, reasons.get(name)) for name in beside}
    if 0 < len(beside) <= _MOST_SEARCHED:
        counts = Counter(map(os.path.dirname, tree.images))
        foreign = {
            name: why + _by_position(tree.folder / name, counts[os.path.dirname(name)])
            for name, why in foreign.items()
        }
    if texts:
        share = f"fewer than half of the images ({len(texts)} of {len(tree.images)}) have one"
        why = f"the text file of an image, but {share}; write the others"
        foreign |= dict.fromkeys(foreign.keys() & set(texts.values()), why)
        first = label_rows.examples(list(texts.values())[:1])
        unused.append(f"the text files of images, such as {first}, are not used, because {share}")
    return Found(None, _first(unused), foreign)


def _of_labels_file(tree: Tree) -> Listing:
    """Reads labels.csv."""
    path = tree.folder / LABELS_FILE
    text = label_tables.decode(files.read(path, MAX_BYTES), str(path))
    labels = label_tables.read(text, str(path), is_image_of(tree))
    found = label_rows.collect(tree, [(LABELS_FILE, labels)])
    others = [name for name in tree.others if PurePath(name).suffix.lower() in _TABLES]
    others = [name for name in others if name != LABELS_FILE]
    if not others:
        return found
    names = label_rows.examples(others)
    hidden = f"{LABELS_FILE} is read, and no other label file: {names}"
    return found._replace(warnings=(*found.warnings, hidden))


def _of_texts(tree: Tree, texts: Mapping[str, str]) -> Listing:
    """Reads the text file of each image."""
    contents = {image: _text(tree, name) for image, name in texts.items()}
    found = label_rows.collect(tree, [("", label_lists.beside(contents))])
    warnings = [*found.warnings]
    second = text_files.second(tree, texts)
    known = {*texts.values(), *second}
    if lost := [name for name in text_files.names(tree) if name not in known]:
        what = label_rows.count(len(lost), "text file")
        warnings.append(f"{what} without an image: left out, such as {label_rows.examples(lost)}")
    if second:
        other, image = next(iter(second.items()))
        one, other = label_rows.examples([texts[image]]), label_rows.examples([other])
        what = label_rows.count(len(set(second.values())), "image")
        warnings.append(f"{what} with two text files: one is read, such as {one} and not {other}")
    return found._replace(warnings=tuple(warnings))


def _open_all(
    tree: Tree, skipped: Collection[str]
) -> tuple[list[tuple[str, Labels]], dict[str, DataError | str]]:
    """Opens all label files.

    Returns:
      Name and content of each label file; and why files are not used that may have labels.
    """
    is_image = is_image_of(tree)
    readers: list[tuple[str, Labels]] = []
    reasons: dict[str, DataError | str] = {}
    unclear: list[str] = []
    for name in tree.others:
        if name in skipped:
            continue
        try:
            if labels := _opened(tree, name, is_image):
                if label_file_names.is_submission(name):
                    raise DataError(
                        f"{tree.folder / name} is named like a submission to Kaggle, with "
                        "placeholders or readings; if these are labels, rename it to labels.csv"
                    )
                readers.append((name, labels))
            elif reason := _why_unknown(name, is_image):
                reasons[name] = reason
            elif not label_file_names.is_document(name):
                unclear.append(name)
        except DataError as error:
            reasons[name] = error
    reasons |= dict.fromkeys(_naming_images(tree, unclear), _UNKNOWN)
    return readers, reasons


def _refuse_damaged(reasons: Mapping[str, DataError | str], read: list[str]) -> None:
    """Raises the error of a damaged label file, beside others that can be read.

    Without it, a part of the data set would be lost.
    """
    for name, reason in reasons.items():
        if isinstance(reason, DamagedError) and label_file_names.sounds_like_labels(name):
            others = label_rows.examples(read)
            raise DataError(f"{reason}. Or remove it, to read only {others}") from reason


def _why_unknown(name: str, is_image: IsImage) -> str | None:
    """Says why a file is not used that may have labels by its name; None if it seems to have none.

    Args:
      name: a file that is not in the form of a label file.
      is_image: whether a field can be the name of an image of the folder.
    """
    suffix = label_file_names.suffix_of(name)
    is_named = suffix in _SPREADSHEETS or label_file_names.may_have_labels(name)
    if not is_named and suffix in SUFFIXES:
        # Named as an image, such as 226md.json.
        is_named = not label_file_names.is_document(name) and is_image(PurePath(name).stem)
    if not is_named:
        return None
    if suffix in _ADVICE:
        return f"if it has the labels, {_ADVICE[suffix]}"
    suffix = PurePath(name).suffix.lower()
    if suffix == ".json":
        return _UNKNOWN_JSON
    return _UNKNOWN if suffix in _READERS else _FORMAT


def _naming_images(tree: Tree, names: Iterable[str]) -> list[str]:
    """Returns the small text files, among the first ones of `names`, that name an image."""
    found = []
    for name in itertools.islice(names, _MOST_SEARCHED):
        try:
            text = files.read(tree.folder / name, _SMALL).decode()
        except (OSError, UnicodeDecodeError):
            continue
        words = itertools.islice(re.finditer(r"""[^\s"'`,;:|<>()\[\]{}=]+""", text), 5000)
        if any(label_tables.has_image_suffix(word[0]) and tree.near(word[0]) for word in words):
            found.append(name)
    return found


def _why_foreign(name: str, reason: DataError | str | None) -> str:
    """Says why a file beside the images is neither an image nor a label file."""
    suffix = PurePath(name).suffix.lower()
    if isinstance(reason, DataError):
        return f"not an image, nor a label file: {brief(reason)}"
    if suffix in _ADVICE:
        return f"not an image; if it has the labels, {_ADVICE[suffix]}"
    if reason == _FORMAT:
        return f"not an image; {reason}"
    if suffix == ".json":
        return f"not an image, and {_UNKNOWN_JSON}"
    return f"not an image, and {_UNKNOWN}" if suffix in SUFFIXES else "not an image"


def _by_position(path: Path, count: int) -> str:
    """Says what to do with a list or table without names that has `count` lines, as many as images.

    Returns an empty string for other files.
    """
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".list") or count < 2:
        return ""
    try:
        text = files.read(path, _SMALL).decode()
    except (OSError, UnicodeDecodeError):
        return ""
    lines = list(filter(None, map(str.strip, text.splitlines())))
    fields = (field.strip("\"'") for line in lines for field in re.split(r"[\s,;|]+", line))
    if len(lines) != count or any(map(label_tables.has_image_suffix, fields)):
        return ""
    return (
        f". It has a line for each of the {count} images: if they are in the same order, write the "
        "name of the image and a comma before each text, below the header file,label"
    )


def is_image_of(tree: Tree) -> IsImage:
    """Returns a function that says whether a field can be the name of an image of the folder."""

    def is_image(field: str) -> bool:
        if label_tables.has_image_suffix(field):
            return True
        try:
            return bool(field) and tree.find(field) is not None
        except ValueError:
            return False

    return is_image


def _opened(tree: Tree, name: str, is_image: IsImage) -> Labels | None:
    """Opens a label file; None if it is of another kind. DataError: it cannot be used."""
    suffix, path = PurePath(name).suffix.lower(), tree.folder / name
    if suffix == parquet.SUFFIX:
        return parquet.read(path, name, is_image)
    if suffix not in _READERS:
        return None
    text = label_tables.decode(files.read(path, MAX_BYTES), str(path))
    return _READERS[suffix](text, str(path), is_image)


def _unused(reasons: Mapping[str, DataError | str]) -> list[str]:
    """Says why label files are not used. Other tables are not mentioned."""
    return [
        f"{one_line(name)[:100]} is not used: {brief(reason)}"
        for name, reason in sorted(reasons.items())
        if not isinstance(reason, UnrelatedTableError) or label_file_names.is_certain(name)
    ]


def _first(warnings: list[str]) -> tuple[str, ...]:
    """Returns the first five warnings, and the number of the others."""
    more = [f"{len(warnings) - 5} more files are not used"] if len(warnings) > 5 else []
    return (*warnings[:5], *more)


def _text(tree: Tree, name: str) -> str:
    return label_tables.decode(files.read(tree.folder / name, 2**16), str(tree.folder / name))
