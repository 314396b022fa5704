"""Recognizes the columns of a table of labels by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from crnn_jax.data.part_names import PARTS
from crnn_jax.errors import DataError, quote

# Names of columns, in lower case and without spaces and punctuation.
FILES = frozenset([
    "file", "filename", "filepath", "path", "image", "imagepath", "imagefile", "imagefilename",
    "imagename", "img", "imgpath", "imgname", "imgfile", "picture", "name", "fname", "relpath",
    "relativepath", "imageid", "id",
])  # fmt: skip
LABELS = frozenset([
    "label", "labels", "text", "texts", "word", "words", "transcription", "transcript",
    "groundtruth", "gt", "target", "caption", "solution", "answer", "string", "captcha", "code",
    "value", "truth",
])  # fmt: skip
_SPLITS = frozenset(["split", "subset", "partition", "part", "set", "usage", "phase"])
# Columns that are no labels, though no other column may be left.
_OTHERS = frozenset([
    "", "unnamed0", "index", "size", "filesize", "bytes", "width", "height", "md5", "sha1",
    "sha256", "sha512", "hash", "digest", "url", "link", "source", "license", "fold", "date",
    "time", "timestamp",
])  # fmt: skip
_OF_READINGS = frozenset(["confidence", "score"])

IsImage = Callable[[str], bool]  # whether a field can be the name of an image


class Columns(NamedTuple):
    """The places of the columns in a row; -1 for no split."""

    file: int
    label: int
    split: int = -1


def normalized(name: str) -> str:
    """Returns a column name in lower case without spaces and punctuation."""
    return re.sub(r"[\W_]", "", name.lower())


def choose(names: Sequence[str], row: Sequence[str] | None, is_image: IsImage) -> Columns | str:
    """Recognizes the columns of a header.

    Args:
      names: the header.
      row: the first text of each column, if there is a row; it decides between several candidates.
      is_image: whether a field can be the name of an image.

    Returns:
      The columns, or what is wrong with the header.
    """
    keys = [normalized(name) for name in names]
    if keys.count("file") > 1 or keys.count("label") > 1:
        return "two columns have the same name"
    splits = [i for i, key in enumerate(keys) if key in _SPLITS]
    split = keys.index("split") if keys.count("split") == 1 else -1
    if split < 0 and row is not None:
        values = [row[i].strip().lower() if i < len(row) else "" for i in splits]
        chosen = [i for i, value in zip(splits, values, strict=True) if value in PARTS]
        split = chosen[0] if len(chosen) == 1 else -1
    shown = [i for i, value in enumerate(row or ()) if i < len(keys) and is_image(value)]
    files = [i for i, key in enumerate(keys) if key in FILES]
    if "file" in keys:
        files = [keys.index("file")]
    elif len(files) != 1:
        files = [i for i in files or range(len(keys)) if i in shown]
    if len(files) != 1:
        return "no column is named file" if not files else _several("file", names, files)
    labels = [i for i, key in enumerate(keys) if key in LABELS and i != files[0]]
    if "label" in keys:
        labels = [_label_or_text(keys, labels, row)]
    elif not labels:
        rest = (i for i in range(len(keys)) if i not in (files[0], split))
        labels = [i for i in rest if keys[i] not in _OTHERS]
        labels = labels if len(labels) == 1 else []
    if len(labels) != 1:
        return "no column is named label" if not labels else _several("label", names, labels)
    return Columns(files[0], labels[0], split)


def _label_or_text(keys: Sequence[str], labels: Sequence[int], row: Sequence[str] | None) -> int:
    """Returns the column `label`; or the only other label column, if `label` numbers a class.

    Hugging Face's metadata can have the columns file_name, text and label, such as a.png,226md,0.
    """
    named = keys.index("label")
    others = [i for i in labels if i != named]
    if len(others) != 1 or row is None or len(row) <= max(named, others[0]):
        return named
    text = row[others[0]]
    is_class = row[named].isdecimal() and text != "" and not text.isdecimal()
    return others[0] if is_class else named


def _several(what: str, names: Sequence[str], found: Sequence[int]) -> str:
    listed = " and ".join(quote(names[i]) for i in found)
    return f"{listed} can be the {what}; rename one of them to {what}"


def refuse_readings(names: Sequence[str], path: str, remedy: str) -> None:
    """Raises DataError if columns contain confidences, as in the readings of a model."""
    if _OF_READINGS & set(map(normalized, names)):
        raise DataError(
            f"{path} has confidences, so it seems to contain readings, not labels; {remedy}"
        )
