"""Images and labels in parquet files, as Hugging Face's datasets store them. Needs pyarrow."""

from __future__ import annotations

import functools
import itertools
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crnn_jax.data import label_columns, label_file_names
from crnn_jax.data.column_values import Values
from crnn_jax.data.label_columns import IsImage
from crnn_jax.data.label_tables import DamagedError, Labels, Row
from crnn_jax.errors import DataError, brief, quote

SUFFIX = ".parquet"
MAX_BYTES = 2**32
_LOCK = threading.Lock()


def read(path: Path, name: str, is_image: IsImage) -> Labels:
    """Reads the labels of a parquet file.

    If it contains the images too, the file of row 7 of `train.parquet` is called
    `train.parquet/0000007`.

    Args:
      path: the file.
      name: its name relative to the data folder.
      is_image: whether a field can be the name of an image.

    Raises:
      DamagedError: the file cannot be read, or pyarrow is not installed.
      DataError: its columns cannot be used.
    """
    schema = _opened(path).schema_arrow
    names = list(schema.names)
    holders = [i for i, kind in enumerate(schema.types) if _holds_images(kind)]
    if len(holders) > 1:
        found = quote([names[i] for i in holders])
        raise DataError(f"{path} has several columns of images, {found}; keep one of them")
    # The column with the images takes the place of the one with their names.
    keys = ["file" if i in holders else column for i, column in enumerate(names)]
    classes = _class_names(schema)
    known = {i: _column(path, names[i]) for i, kind in enumerate(schema.types) if _is_plain(kind)}
    values = [
        _values(known.get(i), _is_integer(kind), classes.get(names[i], {}))
        for i, kind in enumerate(schema.types)
    ]
    # Images have no other purpose here, so the only text beside them is the label.
    is_labels = bool(holders) or label_file_names.sounds_like_labels(name)
    columns = label_columns.choose(keys, values, is_image, is_labels)
    if isinstance(columns, str):
        raise DataError(f"{path}: {columns}; its columns are {quote(names)}")
    remedy = "remove the readings to use it"
    label_columns.refuse_readings(names, names[columns.label], str(path), remedy)
    chosen: dict[int, Any] = {
        i: known[i] if i in known else _column(path, names[i])
        for i in columns[:3]
        if i >= 0 and i not in holders
    }
    parts, files = chosen.get(columns.split), chosen.get(columns.file)
    of_class = classes.get(names[columns.label])
    of_part: dict[Any, str] = dict(classes.get(names[columns.split], {}))

    def rows() -> Iterator[Row]:
        for number, value in enumerate(chosen[columns.label].to_pylist()):
            if of_class and value is not None:
                value = of_class.get(value)
            part = "" if parts is None else parts[number].as_py()
            part = of_part.get(part, part)
            file = f"{name}/{number:07d}" if files is None else str(files[number].as_py())
            is_label = isinstance(value, (str, int)) and not isinstance(value, bool)
            complaint = "" if is_label else f"its label is {quote(value)}, not a string"
            text = str(value) if is_label else ""
            yield Row(file, text, number + 1, columns.part(part), complaint)

    is_text = of_class is not None or "string" in str(schema.types[columns.label])
    kind = f"parquet, columns {quote(names[columns.file])} and {quote(names[columns.label])}"
    return Labels(kind, rows(), is_text)


def _class_names(schema: Any) -> dict[str, dict[int, str]]:
    """Returns the texts of numbers by column, for columns of class numbers (Hugging Face)."""
    try:
        content = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = content["info"]["features"]
        return {
            column: dict(enumerate(map(str, feature["names"])))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_integer(kind: Any) -> bool:
    return str(kind).lstrip("u").startswith("int")


def _is_plain(kind: Any) -> bool:
    """Whether a column has texts, whole numbers or truth values."""
    names = ("string", "large_string", "dictionary<", "bool")
    return _is_integer(kind) or str(kind).startswith(names)


def _values(column: Any, is_integer: bool, classes: dict[int, str]) -> Values:
    """Returns the values of a column; none of a column that is not read."""
    values = Values(is_integer)
    if column is not None:
        counts = column.value_counts()
        for value, count in zip(*(counts.field(i).to_pylist() for i in (0, 1)), strict=True):
            if value is not None:
                values.add(itertools.repeat(classes.get(value, str(value)), count))
    return values


def image(path: Path, row: int) -> bytes:
    """Returns the content of the image file in a row. DataError: there is none."""
    with _LOCK:  # so that threads do not read the same file at once
        column = _images(os.fspath(path), os.stat(path).st_mtime_ns)
    if not 0 <= row < len(column):
        raise DataError(f"{path} has no row {row}")
    value = column[row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError("the row contains no image, or only its path; embed the images")
    return content


@functools.lru_cache(maxsize=8)
def _images(path: str, modified: int) -> Any:
    """Returns the column with the images, which stay compressed."""
    schema = _opened(Path(path)).schema_arrow
    (name,) = (n for n, kind in zip(schema.names, schema.types, strict=True) if _holds_images(kind))
    return _column(Path(path), name)


def _holds_images(kind: Any) -> bool:
    """Whether a column is binary, or a struct {bytes, path}."""
    text = str(kind)
    return text in ("binary", "large_binary") or (
        text.startswith("struct<") and "bytes: " in text and "binary" in text
    )


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DamagedError(
            f"{path} needs pyarrow: pip install pyarrow, or pip install 'crnn-jax[parquet]'"
        ) from error
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise DataError(f"{path} is not a file of at most {MAX_BYTES} bytes")
    try:
        return pyarrow.parquet.ParquetFile(path)
    except Exception as error:  # pyarrow raises many kinds of errors
        raise DamagedError(
            f"{path} is not a readable parquet file ({brief(error, 200)})"
        ) from error


def _column(path: Path, name: str) -> Any:
    """Reads a column; of several with the same name, the first."""
    try:
        return _opened(path).read(columns=[name]).column(0)
    except DataError:
        raise
    except Exception as error:
        raise DamagedError(
            f"{path} is not a readable parquet file ({brief(error, 200)})"
        ) from error
