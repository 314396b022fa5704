"""Reads tables of labels: CSV with any delimiter, header spelling and Unicode encoding.

A table is text whose lines have fields. Its columns are recognized by their names, or, without a
header, by the fields that name images.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import os
import re
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn_jax.data.column_values import Values
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.data.label_columns import (
    NAMES,
    Columns,
    IsImage,
    choose,
    normalized,
    refuse_readings,
    wrong_number,
)
from crnn_jax.data.label_file_names import sounds_like_labels
from crnn_jax.data.label_heads import header_below, without_comments, without_sep
from crnn_jax.data.part_names import PARTS
from crnn_jax.errors import DataError, quote

LABELS_FILE = "labels.csv"
_CHUNK = 1000  # rows
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # ZIP, as of .xlsx and .ods; old .xls
_RULE = re.compile(r"\s*:?-+:?\s*")
_EXCEL_TEXT = re.compile('="(.*)"')  # keeps the zeros of digits in a spreadsheet


class UnrelatedTableError(DataError):
    """A table names no image and has no column for files or labels."""


class DamagedError(DataError):
    """A file cannot be decoded or parsed, so nothing in it is known."""


class Row(NamedTuple):
    """A row of a label file."""

    file: str
    label: str
    line: int
    part: str = ""  # as in the file
    complaint: str = ""


class Labels(NamedTuple):
    """The content of a label file. Iterating over `rows` can raise DataError."""

    kind: str  # kind of file, for messages
    rows: Iterator[Row]
    is_text: bool  # whether labels are stored as text, so that leading zeros are kept


def decode(content: bytes, path: str) -> str:
    """Decodes UTF-8, or UTF-16 and UTF-32, recognized by the byte order mark or by zero bytes.

    Raises:
      DamagedError: the content is none of them; the message gives the line.
    """
    if content.startswith(_NO_TEXT):
        raise DamagedError(f"{path} is a spreadsheet or an archive; save it as CSV in UTF-8")
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    start = content[:64]
    if encoding == "utf-8" and len(start) > 7:
        if not any(start[1::2]) and all(start[::2]):
            encoding = "utf-16-le"
        elif not any(start[::2]) and all(start[1::2]):
            encoding = "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DamagedError(
            f"{path} is not {encoding.removesuffix('-sig').upper()}: line {line}: {error.reason}; "
            "save it as UTF-8"
        ) from error


def has_image_suffix(name: str) -> bool:
    """Whether a file name has the extension of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


class Dialect(NamedTuple):
    """How the fields of a table are written, and which columns it has."""

    delimiter: str
    columns: Columns
    num_columns: int
    has_header: bool
    names: tuple[str, ...]
    skips_space: bool
    quotechar: str
    has_escapes: bool = False  # a quote in a field is written \\", as in lists of ICDAR, not ""
    padded: frozenset[int] = frozenset()  # columns with spaces around each cell, for alignment


def read(text: str, path: str, is_image: IsImage) -> Labels:
    """Reads a table with or without a header.

    Raises:
      DataError: the columns cannot be recognized; the message shows the header.
    """
    form = dialect(text, path, is_image)
    columns = form.columns
    kind = f"a table with the delimiter {_DELIMITERS[form.delimiter]}"
    if form.has_header:
        kind += f", columns {quote(form.names[columns.file])} and "
        kind += quote(form.names[columns.label])
    else:
        kind += " and no header"
    text, skipped = without_sep(without_comments(text, is_image))
    is_text = _has_quoted_number(text, form)
    form = form._replace(has_escapes=_has_escapes(text, form))
    form = form._replace(padded=_padded(text, form))
    return Labels(kind, _rows(text, path, form, skipped), is_text=is_text)


def _has_quoted_number(text: str, form: Dialect) -> bool:
    """Whether a number in the label column is quoted, as by programs that keep leading zeros."""
    number = rf"{form.quotechar}\d+([.]\d+)?{form.quotechar}"
    quoted, place = re.compile(number), form.columns.label
    if not quoted.search(text):
        return False
    # A delimiter within quotes moves the cells of its line, but one other line is enough.
    lines = (line.split(form.delimiter) for line in text.splitlines())
    return any(len(cells) > place and quoted.fullmatch(cells[place].strip()) for cells in lines)


def _has_escapes(text: str, form: Dialect) -> bool:
    """Whether a table is valid only if a backslash escapes a quote."""
    if f"\\{form.quotechar}" not in text:
        return False
    try:
        for _ in _reader(text, form):
            pass
    except csv.Error:
        return True
    return False


def _padded(text: str, form: Dialect) -> frozenset[int]:
    """Returns the columns of files and labels in which each cell has spaces on the same side."""
    delimiter = re.escape(form.delimiter)
    if not re.search(rf" {delimiter}|{delimiter} | [\r\n]", text):
        return frozenset()
    cells: dict[int, list[str]] = {form.columns.file: [], form.columns.label: []}
    with contextlib.suppress(csv.Error):  # reported when the rows are read
        rows = filter(any, _reader(text, form))
        for row in itertools.islice(rows, int(form.has_header), None):
            if len(row) == form.num_columns and not _is_rule(row, form):
                for column, found in cells.items():
                    found += [row[column]] if row[column] else []
    return frozenset(
        column
        for column, found in cells.items()
        if len(found) > 1
        and (
            all(cell[0] == " " for cell in found)
            or all(cell[-1] == " " for cell in found)
            # The longest cell of an aligned column may have no space.
            or (any(cell[-1] == " " for cell in found) and len(set(map(len, found))) == 1)
        )
    )


def _is_rule(row: list[str], form: Dialect) -> bool:
    """Whether a row is the line below the header of a Markdown table."""
    return form.delimiter == "|" and all(_RULE.fullmatch(cell) for cell in row if cell)


def dialect(text: str, path: str, is_image: IsImage) -> Dialect:
    """Finds the delimiter and the columns. DataError: no delimiter gives both columns."""
    text, _ = without_sep(without_comments(text, is_image))
    quotechar = "'" if text.lstrip("\ufeff\r\n").startswith("'") else '"'
    problem, header, is_related = "", [""], False
    for delimiter in _DELIMITERS:
        first, values = _columns(text, delimiter, quotechar)
        skips_space = len(first) > 1 and all(cell.startswith(" ") for cell in first[1:])
        cells = [cell.strip() for cell in first]
        if len(cells) < 2:
            header = header if len(header) > 1 else first
            continue
        columns_or_problem = choose(cells, values, is_image, sounds_like_labels(path))
        shown = [i for i, cell in enumerate(cells) if has_image_suffix(cell)]
        is_named = bool(NAMES & set(map(normalized, cells)))
        below = (column.first for column in values)
        is_related |= is_named or any(is_image(cell) for cell in (*cells, *below))
        if not shown and (isinstance(columns_or_problem, str) or not is_named):
            shown = [i for i, cell in enumerate(cells) if is_image(cell)]
        if shown:  # no header
            others = [i for i in range(len(cells)) if i != shown[0]]
            splits = [i for i in others if cells[i].lower() in PARTS] if len(others) == 2 else []
            labels = [i for i in others if i not in splits]
            if len(shown) == 1 and len(labels) == 1:
                columns = Columns(shown[0], labels[0], splits[0] if splits else -1)
                return Dialect(delimiter, columns, len(cells), False, (), skips_space, quotechar)
            problem = "it has no header, so the label column is unknown"
            header = first
            continue
        if isinstance(columns_or_problem, Columns):
            if os.path.basename(path) != LABELS_FILE:
                label = cells[columns_or_problem.label]
                refuse_readings(cells, label, path, f"rename it to {LABELS_FILE} to use it")
            return Dialect(
                delimiter, columns_or_problem, len(cells), True, tuple(cells), skips_space,
                quotechar,
            )  # fmt: skip
        if not problem or is_named:
            problem, header = columns_or_problem, first
    advice = header_below(text)
    reason = f" ({problem})" * bool(problem) + advice
    kind = DataError if is_related or advice else UnrelatedTableError
    raise kind(
        f"{path} must begin with the header file,label, each column once; it has "
        f"{reprlib.repr(header)}{reason}"
    )


def _columns(text: str, delimiter: str, quotechar: str) -> tuple[list[str], list[Values]]:
    """Returns the first row that is not empty, and the values of each column below it.

    With two columns of known names, the first text of each is enough.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quotechar)
    first: list[str] = []
    values: list[Values] = []
    with contextlib.suppress(csv.Error):  # reported when the rows are read
        first = next(filter(any, rows), [])
        values = [Values() for _ in first]
        is_known = len(first) == 2 and NAMES.issuperset(map(normalized, first))
        while len(first) > 1 and (some := list(itertools.islice(rows, _CHUNK))):
            for column, cells in zip(
                values, itertools.zip_longest(*some, fillvalue=""), strict=False
            ):
                column.add(cells)
            if is_known and all(column.count for column in values):
                break
    return [first[0].lstrip("\ufeff"), *first[1:]] if first else first, values


def _reader(text: str, form: Dialect) -> Any:
    return csv.reader(
        io.StringIO(text.lstrip("\ufeff"), newline=""),
        delimiter=form.delimiter,
        quotechar=form.quotechar,
        skipinitialspace=form.skips_space,
        strict=True,
        doublequote=not form.has_escapes,
        escapechar="\\" if form.has_escapes else None,
    )


def _rows(text: str, path: str, form: Dialect, skipped: int) -> Iterator[Row]:
    columns = form.columns
    rows = _reader(text, form)
    above = "the header" if form.has_header else "the first line"
    is_first = form.has_header
    last = 0  # the line in which the previous row ended
    try:
        for row in rows:
            # An empty line, one of delimiters only, or the line below a header in Markdown.
            if not any(row) or is_first or _is_rule(row, form):
                is_first = is_first and not any(row)
                last = rows.line_num
                continue
            file, label, part = (row[i] if 0 <= i < len(row) else "" for i in columns[:3])
            is_note = row[0].startswith("#") and len(row) == 1
            if columns.file == 0:  # else a label that begins with #
                is_note |= row[0].startswith("# ")
            if is_note and not has_image_suffix(file):
                last = rows.line_num
                continue  # a comment
            if columns.file in form.padded:
                file = file.strip(" ")
            if columns.label in form.padded:
                label = label.strip(" ")
            if quoted := _EXCEL_TEXT.fullmatch(label):
                label = quoted[1]
            complaint = wrong_number(len(row), form.num_columns, above, bool(label))
            yield Row(file, label, rows.line_num + skipped, columns.part(part), complaint)
            last = rows.line_num
    except csv.Error as error:
        first, line = last + skipped + 1, rows.line_num + skipped
        what = str(error)
        if what == "unexpected end of data":
            line = first
            what = (
                "a quote that opens here is never closed; if it belongs to the label, write it "
                'twice inside quotes, such as """abc"'
            )
        elif line > first:
            what += f", in the row that begins on line {first}"
        raise DataError(f"{path} is not a CSV file: line {line}: {what}") from error
