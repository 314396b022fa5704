"""Joins the rows of label files, and finds the image of each row."""

from __future__ import annotations

import os
import reprlib
import types
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from crnn_jax.data import label_shapes, label_texts, parquet, part_names
from crnn_jax.data.label_tables import Labels, Row, has_image_suffix
from crnn_jax.data.part_names import PARTS
from crnn_jax.data.tree import AmbiguousError, Tree, is_absolute
from crnn_jax.errors import DataError, one_line, quote

MAX_BAD = 10_000  # bad rows after which reading stops
MAX_ROWS = 2**21
_HELD_OUT = ("train", "val", "test")  # the later part keeps an image that is in several
_UNITS = {".json": "entry", parquet.SUFFIX: "row"}  # units of places in files; else lines


class Listing(NamedTuple):
    """The images of a folder with their labels."""

    labels: dict[str, str]  # labels by file, sorted
    complaints: dict[str, str]  # why files cannot be used, by file
    parts: dict[str, str]  # train, val or test, by file; empty if the folder has none
    origin: str  # origin of the labels
    notes: tuple[str, ...] = ()  # notes for the user
    warnings: tuple[str, ...] = ()  # files that are left out
    places: Mapping[str, str] = types.MappingProxyType({})  # places in label files, by file


def collect(tree: Tree, found: list[tuple[str, Labels]]) -> Listing:
    """Joins label files.

    Args:
      tree: the folder.
      found: the name and the content of each label file; an empty name for text files beside the
        images.

    Raises:
      DataError: there are more than MAX_ROWS rows, a file is damaged, or its labels have lost
        leading zeros.
    """
    rows = _Collector(tree)
    changed: list[str] = []
    for name, labels in found:
        rows.new = []
        for row in labels.rows:
            rows.num_rows += 1
            if rows.num_rows > MAX_ROWS:
                raise DataError(f"{tree.folder / name} has more than {MAX_ROWS} rows")
            rows.add(name, row)
            if len(rows.complaints) > MAX_BAD:
                break
        texts = [rows.labels[file] for file in rows.new]
        kept = "store the column as strings" if name.endswith(parquet.SUFFIX) else ""
        if problem := label_shapes.damaged_numbers(texts, labels.is_text, kept):
            raise DataError(f"{tree.folder / name}: {problem}")
        changed += _changes(rows, texts, labels.is_text)
    if rows.missing and not rows.labels:
        _refuse_swapped(rows)
        for lost in rows.missing[: MAX_BAD + 1]:
            rows.complaints.setdefault(lost.file, f"there is no such file{lost.hint}")
    what = " and ".join(name for name, _ in found[:3]) or found[0][1].kind
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    kinds = dict.fromkeys(labels.kind for _, labels in found)
    origin = f"{what}{more} ({'; '.join(kinds)})" if found[0][0] else found[0][1].kind
    return Listing(
        dict(sorted(rows.labels.items())), rows.complaints, rows.parts(),
        origin, warnings=(*_left_out(rows, f"{what}{more}"), *changed), places=rows.places,
    )  # fmt: skip


def _refuse_swapped(rows: _Collector) -> None:
    """Raises DataError if the images of all rows are missing, and their labels name images."""
    first = rows.missing[0]
    if all(has_image_suffix(row.label) for row in rows.missing):
        raise DataError(
            f"{one_line(str(rows.tree.folder))}: no row of a label file names an image, but all "
            f"labels do, such as {quote(first.label)} of {quote(first.file)}: exchange the columns "
            "of files and labels"
        )


def _left_out(rows: _Collector, what: str) -> list[str]:
    """Warns of rows without an image, images without a row, and images that are not trained on."""
    warnings = []
    used = {os.path.normpath(file) for file in (*rows.labels, *rows.unreadable)}
    unlisted = [image for image in rows.tree.images if os.path.normpath(image) not in used]
    if rows.missing and rows.labels:
        free = set(unlisted)
        shown = [
            f"{row.file} (there is {row.near})" if row.near in free else row.file
            for row in rows.missing[:3]
        ]
        warnings.append(
            f"{count(len(rows.missing), 'row')} of {what} without an image: left out, such "
            f"as {examples(shown)}"
        )
    if rows.unreadable:
        warnings.append(
            f"{count(len(rows.unreadable), 'image')} with the label {label_texts.UNREADABLE}, "
            "which marks unreadable text: left out, such as "
            f"{examples(list(rows.unreadable))}"
        )
    if rows.in_two_parts:
        warnings.append(
            f"{count(len(rows.in_two_parts), 'image')} in the label files of two parts, such as "
            f"{examples(list(rows.in_two_parts))}: not used for training"
        )
    if unlisted:
        warnings.append(
            f"{count(len(unlisted), 'image')} without a label in {what}: left out, such as "
            f"{examples(unlisted)}"
        )
    return warnings


def _changes(rows: _Collector, texts: Sequence[str], is_text: bool) -> list[str]:
    """Warns of labels of the current label file that a spreadsheet seems to have changed."""
    warnings = []
    for what, places in label_shapes.changes(texts, is_text):
        file = rows.new[places[0]]
        warnings.append(
            f"{count(len(places), 'label')} {what}, such as {quote(texts[places[0]])}"
            f"{rows.places[file]}: a spreadsheet or pandas may have changed them; check them"
        )
    return warnings


def distinct_parts(parts: dict[str, str]) -> dict[str, str]:
    """Returns the parts of files; empty if all files are in the same one."""
    return parts if len(set(parts.values())) > 1 else {}


def count(number: int, what: str) -> str:
    """Returns a number with its noun, for messages: 1 row, 2 rows."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def examples(names: Sequence[str]) -> str:
    """Returns the first three names, for messages."""
    return ", ".join(one_line(name)[:100] for name in names[:3])


class _Parts(NamedTuple):
    """The part of a file (train, val, test, or "" if unknown) according to each source."""

    column: str = ""  # a column of a label file
    folder: str = ""  # the image's folder; else the folder in the row, or that of the label file
    name: str = ""  # the name of a label file


class _Missing(NamedTuple):
    """A row without an image."""

    file: str
    label: str
    near: str  # an image that the row may mean; empty if there is none
    hint: str  # what else is known, and the place of the row


class _Collector:
    """The rows of all label files together."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.labels: dict[str, str] = {}
        self.new: list[str] = []  # the files of the current label file that had no label
        self.places: dict[str, str] = {}
        self.complaints: dict[str, str] = {}
        self.missing: list[_Missing] = []
        self.unreadable: dict[str, None] = {}  # images whose text nobody can read
        self.in_two_parts: dict[str, None] = {}  # images in label files of several parts
        self.num_rows = 0
        self._parts: dict[str, _Parts] = {}
        self._seen: dict[str, tuple[str, int, str]] = {}  # label file, line and label, by file

    def add(self, name: str, row: Row) -> None:
        """Adds a row of the label file `name`; an empty name for text files beside the images."""
        unit = _UNITS.get(PurePath(name).suffix.lower(), "line")
        place = f" ({unit} {row.line} of {name})" if name else ""
        text = unicodedata.normalize("NFC", row.label)
        file, reason = row.file, row.complaint or _file_complaint(row.file)
        if self.tree.is_set_aside(file, name.rpartition("/")[0]):
            return
        found, hint = None, ""
        part = PARTS.get(row.part.strip().lower(), "")
        if not reason:
            found, reason, hint = self._find(name, file, part)
        key = found or _from_top(name, file, row.line)
        if text == label_texts.UNREADABLE and not reason:
            if found:
                self.unreadable[found] = None
            return
        reason = reason or label_texts.in_table(text)
        if row.part.strip() and not part:
            reason = reason or f"its split is {reprlib.repr(row.part)}; write train, val or test"
        first = self._seen.setdefault(_same_file(key), (name, row.line, text))
        if first[:2] != (name, row.line):
            if first[0] == name:
                reason = f"listed twice in {name}, on {_plural(unit)} {first[1]} and {row.line}"
                place = ""
            elif first[2] != text:
                reason = reason or f"its label in {first[0]} is {reprlib.repr(first[2])}"
        if reason:
            self.complaints[key] = reason + place
        elif found is None:
            near = self.tree.similar(file) or ""
            hint = f"; there is {near}" if near else hint
            self.missing.append(_Missing(key, text, near, hint + place))
            return
        if key not in self.labels:
            self.new.append(key)
        self.labels[key] = text
        self.places[key] = place
        # The image's own path comes first: one from another machine can mislead, as in
        # /test/set/train/a.png.
        folder = next(filter(None, map(part_names.of_path, (found or "", file, name))), "")
        before = self._parts.get(key, _Parts())
        of_name = part_names.of_file(name)
        if before.name and of_name and of_name != before.name:
            self.in_two_parts[key] = None
            of_name = max(before.name, of_name, key=_HELD_OUT.index)
        self._parts[key] = _Parts(
            before.column or part, before.folder or folder, of_name or before.name
        )

    def _find(self, name: str, file: str, part: str) -> tuple[str | None, str, str]:
        """Returns the image of a row, or why it cannot be used, or a hint why it is missing."""
        if name.endswith(parquet.SUFFIX) and file.startswith(f"{name}/"):
            return file, "", ""
        base = name.rpartition("/")[0]
        if not part_names.of_path(file):  # else the path tells more
            part = part or part_names.of_path(name) or part_names.of_file(name)
        try:
            return self.tree.find(file, base, part), "", ""
        except AmbiguousError as error:
            return None, str(error), ""
        except ValueError as error:
            # An absolute path from another machine: the image is missing, as in any other row.
            return (None, "", f"; {error}") if is_absolute(file) else (None, str(error), "")

    def parts(self) -> dict[str, str]:
        """Returns the part of each file: that of its column, or else of its folder or label file.

        If all folders name the same part, the names of the label files decide, as train.csv and
        val.csv for images in `train`. If all files are in the same part, the result is empty,
        unless a column says that none of them is for training.
        """
        folders_differ = len({found.folder for found in self._parts.values()}) > 1
        parts = {}
        for file, found in self._parts.items():
            names = [found.folder, found.name] if folders_differ else [found.name, found.folder]
            parts[file] = found.column or names[0] or names[1]
        columns = {found.column for found in self._parts.values()}
        return parts if columns in ({"val"}, {"test"}) else distinct_parts(parts)


def _plural(unit: str) -> str:
    return "entries" if unit == "entry" else f"{unit}s"


def _from_top(name: str, file: str, line: int) -> str:
    """Returns the name that the missing image of a row would have below the data folder.

    So rows of two label files that name equal files in different folders differ.
    """
    base = name.rpartition("/")[0]
    if not file:
        return f"{name}:{line}"
    is_below = base and not is_absolute(file) and not file.startswith(f"{name}/")
    return f"{base}/{file}" if is_below else file


def _same_file(file: str) -> str:
    """Returns an equal key for names of the same file, such as a//b and ./a/b, or NFC and NFD."""
    return unicodedata.normalize("NFC", os.fspath(PurePath(file)))


def _file_complaint(file: str) -> str:
    if not file:
        return "its file name is empty"
    # The other surrogates are bytes of names that are not UTF-8.
    if "\0" in file or any("\ud800" <= c <= "\udbff" for c in file):
        return "its file name has characters that no file name can have"
    return ""
