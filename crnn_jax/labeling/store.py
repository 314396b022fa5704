"""Stores the labels of a folder in its labels.csv, which training can read at any time.

The file is replaced atomically with every change, so it is always complete. A file that
exists keeps its rows, columns, delimiter and line ends; new rows are added at its end. Fields are
quoted, so that the zeros of digits are kept. Before each change the file is compared with what was
written last: changes of another program are kept.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from crnn_jax.data import label_files, label_tables, listing
from crnn_jax.data.label_tables import LABELS_FILE, Dialect
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, one_line
from crnn_jax.runtime import files

_HEADER = "file,label\n"
_MOST = label_files.MAX_BYTES


class LabelFile:
    """The labels of the images of a folder by name. One thread uses it at a time."""

    def __init__(self, tree: Tree):
        """Reads the labels that exist.

        Raises:
          DataError: labels.csv cannot be used, or the labels of the folder are elsewhere.
          RunError: labels.csv is a symbolic link.
        """
        self._tree = tree
        self.path = files.below(tree.folder, LABELS_FILE)
        self.labels: dict[str, str] = {}
        self._blank: set[str] = set()  # images whose row has no label yet
        self._content: bytes | None = None
        self._load(self._read())
        if self._content is None and (found := label_files.read(tree)):
            raise DataError(
                f"{one_line(str(tree.folder))} has labels in {one_line(found.origin)}, which a new "
                f"{LABELS_FILE} would hide; save them as {LABELS_FILE} (columns file and label) to "
                "continue them, or move them to another folder"
            )

    def add(self, file: str, label: str) -> None:
        """Adds the label of an image, or replaces it. When this returns, the label is on the disk.

        Raises:
          RunError: the file cannot be written; it is as before.
          DataError: another program made it unusable.
        """
        before = self._current()
        text, fields = before, None
        if file in self.labels or file in self._blank:
            text, fields = self._without(before, file)
        self._write(text + self._row(before, file, label, fields))
        self._blank.discard(file)
        self.labels[file] = label

    def refresh(self) -> bool:
        """Reads the labels again if another program changed the file. Returns whether it did.

        If the file was removed or is empty, the labels stay, and the next change writes them again.
        DataError: another program made it unusable.
        """
        content = self._read()
        if content == self._content or not content or not content.strip():
            return False
        self._load(content)
        return True

    def remove(self, file: str) -> None:
        """Removes the label of an image, if it has one. Raises the errors of `add`."""
        before = self._current()
        if file in self.labels:
            text, fields = self._without(before, file)
            columns = self._form(before).columns
            if any(cell for i, cell in enumerate(fields or ()) if i not in columns[:2]):
                text += self._row(before, file, "", fields)  # keep the user's other columns
                self._blank.add(file)
            self._write(text)
            del self.labels[file]

    def _read(self) -> bytes | None:
        try:
            return files.read(self.path, _MOST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(
                f"{one_line(str(self.path))} cannot be read: {error.strerror or error}"
            ) from error

    def _load(self, content: bytes | None) -> None:
        """Reads the labels in the content of the file."""
        labels: dict[str, str] = {}
        if content and content.strip():
            found = label_files.read(self._tree)
            assert found is not None  # labels.csv is always read
            if found.complaints:
                raise DataError(listing.name_all(self._tree.folder, found.complaints))
            known = {os.path.normpath(image): image for image in self._tree.images}
            labels = {known.get(os.path.normpath(f), f): text for f, text in found.labels.items()}
        self._blank = {file for file, text in labels.items() if not text}
        self.labels = {file: text for file, text in labels.items() if text}
        self._content = content

    def _current(self) -> str:
        """Returns the text of the file, after reading it again if another program changed it."""
        content = self._read()
        # New, or removed or emptied by another program: nothing that was labeled is lost. A user
        # who wants no labels leaves the header.
        if not content or not content.strip():
            rows = (self._row(_HEADER, file, label) for file, label in self.labels.items())
            return _HEADER + "".join(rows)
        if content != self._content:
            self._load(content)
        text = label_tables.decode(content, str(self.path))
        return text if text.endswith(("\n", "\r")) else text + _line_end(text)

    def _write(self, text: str) -> None:
        before = self._content or b""
        is_marked = before.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        content = text.lstrip("\ufeff").encode("utf-8-sig" if is_marked else "utf-8")
        files.write(self.path, content)
        self._content = content
        with contextlib.suppress(OSError):  # not every file system can do it
            descriptor = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _form(self, text: str) -> Dialect:
        return label_tables.dialect(text, str(self.path), label_files.is_image_of(self._tree))

    def _row(self, text: str, file: str, label: str, before: list[str] | None = None) -> str:
        """Returns the row of an image for the table `text`; `before` has its old fields."""
        form = self._form(text)
        fields = [*(before or ()), *[""] * form.num_columns][: form.num_columns]
        fields[form.columns.file], fields[form.columns.label] = file, label
        row = io.StringIO(newline="")
        writer = csv.writer(
            row,
            delimiter=form.delimiter,
            quotechar=form.quotechar,
            quoting=csv.QUOTE_ALL,
            lineterminator=_line_end(text),
        )
        writer.writerow(fields)
        return row.getvalue()

    def _without(self, text: str, file: str) -> tuple[str, list[str] | None]:
        """Returns the table without the row of an image, and the fields of this row."""
        form = self._form(text)
        kept: list[str] = []
        removed: list[str] | None = None
        is_above = form.has_header  # a column may have the name of an image
        for lines, fields in _rows(text, form):
            place = form.columns.file
            named = fields[place] if place < len(fields) else ""
            if is_above or not (named and self._is(named, file)):
                kept += lines
            else:
                removed = fields
            is_above = is_above and not (any(fields) and not fields[0].startswith("sep="))
        return "".join(kept), removed

    def _is(self, named: str, file: str) -> bool:
        if named == file:
            return True
        with contextlib.suppress(ValueError):
            found = self._tree.find(named)
            return found is not None and os.path.normpath(found) == os.path.normpath(file)
        return False


def listable(images: Sequence[str]) -> tuple[list[str], int]:
    """Returns the images whose names can be written to labels.csv, and the number of the others.

    A name must be UTF-8 without line breaks, and the only one with its composed form (NFC).
    """
    found: dict[str, str] = {}
    for image in images:
        is_text = not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in image)
        if is_text and image == image.strip():
            found.setdefault(unicodedata.normalize("NFC", image), image)
    return list(found.values()), len(images) - len(found)


def normalized(text: str) -> str:
    """Returns a label as it is stored: composed (NFC), without white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _rows(text: str, form: Dialect) -> Iterator[tuple[list[str], list[str]]]:
    """Yields the lines and the fields of each row of a table."""
    lines = list(io.StringIO(text, newline=""))
    rows = csv.reader(
        lines,
        delimiter=form.delimiter,
        quotechar=form.quotechar,
        skipinitialspace=form.skips_space,
    )
    start = 0
    for fields in rows:
        yield lines[start : rows.line_num], fields
        start = rows.line_num


def writable(folder: Path) -> None:
    """Checks that labels can be saved in a folder. RunError if not, before anything is labeled."""
    files.check_room(folder / LABELS_FILE, 4096)
