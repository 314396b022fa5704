"""Reads labels.csv, and checks which texts can be labels."""

from __future__ import annotations

import csv
import io
import os
import reprlib
import unicodedata
from pathlib import Path, PurePath

from crnn_jax.charset import Charset, required_steps
from crnn_jax.errors import DataError
from crnn_jax.runtime import files

LABELS_FILE = "labels.csv"
MAX_BAD = 10_000  # bad rows after which reading stops
MAX_ROWS = 2**21
MAX_BYTES = 2**28


def read(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Reads the columns `file` and `label` of a UTF-8 CSV file with a header.

    Returns:
      {file: text}, sorted by file name, and {file: complaint} for rows that cannot be used.

    Raises:
      OSError: the file cannot be read.
      DataError: the file is not CSV with these columns, or it is too long.
    """
    listed: dict[str, str] = {}
    complaints: dict[str, str] = {}
    lines: dict[str, int] = {}  # line numbers by normalized name
    content = files.read(path, MAX_BYTES)
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""), strict=True)
    try:
        header = next(rows, [])
        if (header.count("file"), header.count("label")) != (1, 1):
            raise DataError(
                f"{path} must begin with the header file,label, each column once; it has "
                f"{reprlib.repr(header)}"
            )
        places = header.index("file"), header.index("label")
        for row in rows:
            if not row:  # an empty line
                continue
            line = rows.line_num
            if len(lines) == MAX_ROWS:
                raise DataError(f"{path} has more than {MAX_ROWS} rows")
            file, text = (row[k] if k < len(row) else "" for k in places)
            text = unicodedata.normalize("NFC", text)
            first = lines.setdefault(_same_file(file), line)
            if first != line:
                complaints[file] = f"listed twice in {LABELS_FILE}, on lines {first} and {line}"
            elif reason := _row_complaint(file, text, len(row), len(header)):
                complaints[file] = f"{reason} (line {line} of {LABELS_FILE})"
            listed[file] = text
            if len(complaints) > MAX_BAD:
                break
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: line {rows.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason}") from error
    return dict(sorted(listed.items())), complaints


def _same_file(file: str) -> str:
    """Returns an equal key for names of the same file, such as a//b and ./a/b, or NFC and NFD."""
    return unicodedata.normalize("NFC", os.fspath(PurePath(file)))


def _row_complaint(file: str, text: str, num_fields: int, num_columns: int) -> str | None:
    if num_fields != num_columns:
        what = "more" if num_fields > num_columns else "fewer"
        empty = "" if text else "its label is empty: "
        return f"{empty}{what} fields than the header"
    if not file:
        return "its file name is empty"
    if control := _controls(text):
        what = reprlib.repr(text)
        return f"its label {what} has line breaks or control characters ({control[0]!a})"
    if text != text.strip():
        return f"its label {reprlib.repr(text)} begins or ends with white space"
    return None


def _controls(text: str) -> str:
    """Returns the control characters in `text`, with line breaks and unpaired surrogates."""
    return "".join(c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp"))


def complaint(text: str, charset: Charset | None, num_steps: int) -> str | None:
    """Says why `text` cannot be a label for a model with T = `num_steps`; None if it can."""
    shown = reprlib.repr(text)
    if not text:
        return "its label is empty"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "its name is not valid UTF-8"
    if control := _controls(text):
        return f"its label {shown} has line breaks or control characters ({control[0]!a})"
    if charset and (unknown := charset.unknown(text)):
        alphabet = charset.alphabet
        return f"its label {shown} has {reprlib.repr(unknown)}, not in the alphabet {alphabet!r}"
    if required_steps(text) > num_steps:
        return (
            f"its label {shown} needs {required_steps(text)} time steps (including a blank between "
            f"equal neighbors) and the model has {num_steps}; increase data.width"
        )
    return None
