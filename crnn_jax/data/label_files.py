"""Chooses the label files of a folder, and checks which texts can be labels.

The format of a label file is recognized by its extension and its content:

.csv .tsv        a table, with or without a header: label_tables.py
.txt             a list of lines, or a table: label_lists.py; also a text file for each image
.json .jsonl     label_lists.py
.parquet         with or without the images: parquet.py

`labels.csv` in the folder itself is always read, and hides other label files. Otherwise all label
files in the folder and its subfolders are read, such as one each in `train` and `val`.
"""

from __future__ import annotations

import os
import re
import reprlib
import types
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import NamedTuple

from crnn_jax import clusters
from crnn_jax.charset import Charset, required_steps
from crnn_jax.data import label_lists, label_tables, parquet
from crnn_jax.data.label_shapes import damaged_numbers
from crnn_jax.data.label_tables import LABELS_FILE, IsImage, Labels, Row
from crnn_jax.data.tree import PARTS, Tree, part_of_path
from crnn_jax.errors import DataError, one_line, quote
from crnn_jax.runtime import files

__all__ = ["FILE_NAMES", "LABELS_FILE", "MAX_BAD", "Listing", "complaint", "read", "why_foreign"]

FILE_NAMES = "the file names"
MAX_BAD = 10_000  # bad rows after which reading stops
MAX_ROWS = 2**21
MAX_BYTES = 2**28
_ADVICE = dict.fromkeys((".xls", ".xlsx", ".ods", ".numbers", ".xml"), "save it as CSV in UTF-8")

_UNITS = {".json": "entry", parquet.SUFFIX: "row"}  # units of places in files; else lines

_Reader = Callable[[str, str, IsImage], Labels | None]
_READERS: dict[str, _Reader] = {
    ".csv": label_tables.read,
    ".tsv": label_tables.read,
    **dict.fromkeys((".txt", ".list", ".lst"), label_lists.lines),
    ".json": label_lists.json_file,
    ".jsonl": label_lists.json_lines,
    ".ndjson": label_lists.json_lines,
}
_TABLES = frozenset({*_READERS, parquet.SUFFIX} - {".txt"})
SUFFIXES = frozenset({*_READERS, parquet.SUFFIX, *_ADVICE})


class Listing(NamedTuple):
    """The images of a folder with their labels."""

    labels: dict[str, str]  # labels by file, sorted
    complaints: dict[str, str]  # why files cannot be used, by file
    parts: dict[str, str]  # train, val or test, by file; empty if the folder has none
    origin: str  # origin of the labels
    notes: tuple[str, ...] = ()  # notes for the user
    warnings: tuple[str, ...] = ()  # files that are left out
    places: Mapping[str, str] = types.MappingProxyType({})  # places in label files, by file


def read(tree: Tree) -> Listing | None:
    """Reads the label files of a folder. None if there are none; then file names are the labels.

    Raises:
      OSError: a label file cannot be read.
      DataError: a label file has no known format, or it is too long or damaged.
    """
    is_image = _is_image(tree)
    if os.path.lexists(tree.folder / LABELS_FILE):
        path = tree.folder / LABELS_FILE
        text = label_tables.decode(files.read(path, MAX_BYTES), str(path))
        found = _collect(tree, [(LABELS_FILE, label_tables.read(text, str(path), is_image))])
        others = [name for name in tree.others if PurePath(name).suffix.lower() in _TABLES]
        if others := [name for name in others if name != LABELS_FILE]:
            hidden = f"{LABELS_FILE} is read, and no other label file: {_examples(others)}"
            found = found._replace(warnings=(*found.warnings, hidden))
        return found
    texts = _beside(tree)
    readers, errors = [], []
    beside = set(texts.values())
    for name in tree.others:
        if name not in beside:
            try:
                labels = _opened(tree, name, is_image)
            except DataError as error:
                errors.append(error)
                continue
            readers += [(name, labels)] if labels else []
    if readers:
        return _collect(tree, readers)
    if texts and 2 * len(texts) >= len(tree.images):
        contents = {image: _text(tree, name) for image, name in texts.items()}
        return _collect(tree, [("", label_lists.beside(contents))])
    if errors and not tree.images:
        raise errors[0]
    return None


def why_foreign(tree: Tree, name: str) -> str:
    """Says why a file in the folder is neither an image nor a label file."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _ADVICE:
        return f"not an image; if it has the labels, {_ADVICE[suffix]}"
    if suffix not in SUFFIXES:
        return "not an image"
    try:
        _opened(tree, name, _is_image(tree))
    except (DataError, OSError) as error:
        return f"not an image, nor a label file: {one_line(str(error))[:300]}"
    return "not an image, nor a label file that names images of this folder"


def _is_image(tree: Tree) -> IsImage:
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


def _beside(tree: Tree) -> dict[str, str]:
    """Returns {image: text file} for text files that have the name of an image."""
    found: dict[str, str] = {}
    stems: dict[str, list[str]] = {}
    for image in tree.images:
        for stem in (image, image.rpartition(".")[0]):
            stems.setdefault(stem, []).append(image)
            stems.setdefault(f"*/{stem.rpartition('/')[2]}", []).append(image)
    for name in tree.others:
        if name.lower().endswith(".txt"):
            stem = re.sub(r"(\.gt)?\.txt$", "", name, flags=re.IGNORECASE)
            images = stems.get(stem) or stems.get(f"*/{stem.rpartition('/')[2]}", [])
            if len(images) == 1:
                found.setdefault(images[0], name)
    return found


def _text(tree: Tree, name: str) -> str:
    return label_tables.decode(files.read(tree.folder / name, 2**16), str(tree.folder / name))


def _part_of_file(name: str) -> str:
    """Returns the part in the name of a label file, such as train in rec_gt_train.txt."""
    tokens = re.split(r"[^a-z]+", PurePath(name).stem.lower())
    found = {PARTS[token] for token in tokens if token in PARTS}
    return found.pop() if len(found) == 1 else ""


class _Collector:
    """Joins the rows of label files."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.labels: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.complaints: dict[str, str] = {}
        self.missing: list[tuple[str, str]] = []  # file and place
        self.num_rows = 0
        self._seen: dict[str, tuple[str, int, str]] = {}  # label file, line and label, by file

    def add(self, name: str, row: Row) -> None:
        """Adds a row of the label file `name`; an empty name for text files beside the images."""
        unit = _UNITS.get(PurePath(name).suffix.lower(), "line")
        place = f" ({unit} {row.line} of {name})" if name else ""
        text = unicodedata.normalize("NFC", row.label)
        is_inside = name.endswith(parquet.SUFFIX) and row.file.startswith(f"{name}/")
        file, reason = row.file, row.complaint
        try:
            found = file if is_inside else self.tree.find(file, name.rpartition("/")[0])
        except ValueError as error:
            found, reason = None, reason or _file_complaint(file) or str(error)
        reason = reason or _file_complaint(file) or _text_complaint(text)
        part = PARTS.get(row.part.strip().lower(), "")
        if row.part.strip() and not part:
            reason = reason or f"its split is {reprlib.repr(row.part)}; write train, val or test"
        first = self._seen.setdefault(_same_file(found or file), (name, row.line, text))
        if first[:2] != (name, row.line):
            if first[0] == name:
                reason = f"listed twice in {name}, on {_plural(unit)} {first[1]} and {row.line}"
                place = ""
            elif first[2] != text:
                reason = reason or f"its label in {first[0]} is {reprlib.repr(first[2])}"
        if reason:
            self.complaints[file] = reason + place
        elif found is None:
            near = self.tree.near(file)
            hint = f"; there is {near}" if near else ""
            self.missing.append((file, hint + place))
            return
        self.labels[found or file] = text
        self.places[found or file] = place
        self.parts[found or file] = (
            part or self.parts.get(found or file) or part_of_path(file)
            or part_of_path(name) or _part_of_file(name) or part_of_path(found or "")
        )  # fmt: skip


def _collect(tree: Tree, found: list[tuple[str, Labels]]) -> Listing:
    rows = _Collector(tree)
    for name, labels in found:
        before = set(rows.labels)
        for row in labels.rows:
            rows.num_rows += 1
            if rows.num_rows > MAX_ROWS:
                raise DataError(f"{tree.folder / name} has more than {MAX_ROWS} rows")
            rows.add(name, row)
            if len(rows.complaints) > MAX_BAD:
                break
        new = [text for file, text in rows.labels.items() if file not in before]
        if problem := damaged_numbers(new, labels.is_text):
            raise DataError(f"{tree.folder / name}: {problem}")
    if rows.missing and not rows.labels:
        for file, hint in rows.missing[: MAX_BAD + 1]:
            rows.complaints.setdefault(file, f"there is no such file{hint}")
    warnings = []
    what = " and ".join(name for name, _ in found[:3]) or found[0][1].kind
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    if rows.missing and rows.labels:
        warnings.append(
            f"{_count(len(rows.missing), 'row')} of {what}{more} without an image: left out, such "
            f"as {_examples([file for file, _ in rows.missing])}"
        )
    used = {os.path.normpath(file) for file in rows.labels}
    if unlisted := [image for image in tree.images if os.path.normpath(image) not in used]:
        warnings.append(
            f"{_count(len(unlisted), 'image')} without a label in {what}{more}: left out, such as "
            f"{_examples(unlisted)}"
        )
    kinds = dict.fromkeys(labels.kind for _, labels in found)
    origin = f"{what}{more} ({'; '.join(kinds)})" if found[0][0] else found[0][1].kind
    return Listing(
        dict(sorted(rows.labels.items())), rows.complaints, distinct_parts(rows.parts),
        origin, warnings=tuple(warnings), places=rows.places,
    )  # fmt: skip


def distinct_parts(parts: dict[str, str]) -> dict[str, str]:
    """Returns the parts of files; empty if all files are in the same one."""
    return parts if len(set(parts.values())) > 1 else {}


def _plural(unit: str) -> str:
    return "entries" if unit == "entry" else f"{unit}s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _examples(names: list[str]) -> str:
    return ", ".join(one_line(name)[:100] for name in names[:3])


def _same_file(file: str) -> str:
    """Returns an equal key for names of the same file, such as a//b and ./a/b, or NFC and NFD."""
    return unicodedata.normalize("NFC", os.fspath(PurePath(file)))


def _file_complaint(file: str) -> str:
    return "" if file else "its file name is empty"


def _text_complaint(text: str) -> str:
    if control := _controls(text):
        what = reprlib.repr(text)
        return f"its label {what} has line breaks or control characters ({control[0]!a})"
    if text != text.strip():
        return f"its label {reprlib.repr(text)} begins or ends with white space"
    return ""


def _controls(text: str) -> str:
    """Returns the control characters in `text`, with line breaks and unpaired surrogates."""
    return "".join(c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp"))


def complaint(
    text: str, charset: Charset | None, num_steps: int, marks: str = "separate"
) -> str | None:
    """Says why `text` cannot be a label for a model with T = `num_steps`; None if it can."""
    shown = reprlib.repr(text)
    if not text:
        return "its label is empty"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "its name is not valid UTF-8"
    if control := _controls(text):
        return f"its label {shown} has line breaks or control characters ({control[0]!a})"
    if marks == clusters.JOINED and clusters.is_mark(text[0]):
        return (
            f"its label {shown} begins with a combining mark; with data.marks=joined, each mark "
            "follows its letter"
        )
    symbols = clusters.split(text, marks)
    if charset and (unknown := charset.unknown(text)):
        alphabet = quote(charset.alphabet)  # shortened: every bad label names it
        return f"its label {shown} has {reprlib.repr(unknown)}, not in the alphabet {alphabet}"
    if (steps := required_steps(symbols)) > num_steps:
        return (
            f"its label {shown} needs {steps} time steps (including a blank between "
            f"equal neighbors) and the model has {num_steps}; increase data.width"
        )
    return None
