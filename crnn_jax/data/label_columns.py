"""Recognizes the columns of a table of labels by their names, and by their values."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from crnn_jax.data import part_names
from crnn_jax.data.column_values import Values
from crnn_jax.data.part_names import PARTS
from crnn_jax.errors import DataError, quote

# Names of columns, in lower case and without spaces and punctuation.
FILES = frozenset([
    "file", "filename", "filepath", "path", "image", "imagepath", "imagefile", "imagefilename",
    "imagename", "img", "imgpath", "imgname", "imgfile", "picture", "name", "fname", "relpath",
    "relativepath", "fileupload", "imageid", "id",
])  # fmt: skip
_NUMBERS = frozenset(["imageid", "id"])  # of the files, if another column names them
LABELS = frozenset([
    "label", "labels", "text", "texts", "word", "words", "transcription", "transcript",
    "groundtruth", "gt", "target", "caption", "solution", "answer", "string", "captcha", "code",
    "value", "truth",
])  # fmt: skip
NAMES = FILES | LABELS
_SPLITS = frozenset([
    "split", "subset", "partition", "part", "set", "usage", "phase", "datasplit", "dataset",
])  # fmt: skip
# Columns that never contain the labels, even if no other column is left.
_OTHERS = frozenset([
    "", "unnamed0", "index", "size", "filesize", "bytes", "width", "height", "md5", "sha1",
    "sha256", "sha512", "hash", "digest", "url", "link", "source", "license", "fold", "date",
    "time", "timestamp", "id", "imageid", "length", "len", "numchars", "quality", "difficulty",
])  # fmt: skip
_CONFIDENCES = frozenset(["confidence", "score"])
_READINGS = frozenset([
    "prediction", "predictions", "predicted", "pred", "output", "ocr", "hypothesis",
])  # fmt: skip

IsImage = Callable[[str], bool]  # whether a field can be the name of an image


class Columns(NamedTuple):
    """The places of the columns in a row; -1 for no split."""

    file: int
    label: int
    split: int = -1
    parts: Mapping[str, str] = types.MappingProxyType({})  # by the values of the split

    def part(self, value: object) -> str:
        """Returns the part that a value of the split means; the value itself if it is unknown."""
        text = "" if value is None else str(value)
        return self.parts.get(text.strip(), text)


def normalized(name: str) -> str:
    """Returns a column name in lower case without spaces and punctuation."""
    return re.sub(r"[\W_]", "", name.lower())


def choose(
    names: Sequence[str], values: Sequence[Values], is_image: IsImage, is_label_file: bool
) -> Columns | str:
    """Recognizes the columns of a header.

    Args:
      names: the header.
      values: the values of each column; they decide between several candidates.
      is_image: whether a field can be the name of an image.
      is_label_file: whether the table is known to have labels, for example by the name of the
        file. Then they can be in a column of any name.

    Returns:
      The columns, or what is wrong with the header.
    """
    keys = [normalized(name) for name in names]
    if keys.count("file") > 1 or keys.count("label") > 1:
        return "two columns have the same name"
    shown = [i for i, column in enumerate(values) if is_image(column.first)]
    files = [i for i, key in enumerate(keys) if key in FILES]
    if "file" in keys:
        files = [keys.index("file")]
    elif len(files) != 1:
        files = [i for i in files or range(len(keys)) if i in shown]
        for others in _NUMBERS, LABELS:
            if len(files) > 1:
                files = [i for i in files if keys[i] not in others] or files
        if _name_the_same([values[i].start for i in files]):
            files = files[:1]
    if len(files) != 1:
        return "no column is named file" if not files else _several("file", names, files)
    labels = [i for i, key in enumerate(keys) if key in LABELS and i != files[0]]
    split, parts = _split(keys, values, {files[0], *labels})
    if "label" in keys:
        labels = _label_or_text(keys, labels, values)
    elif not labels:
        rest = (i for i in range(len(keys)) if i not in (files[0], split) and values[i].count)
        labels = [i for i in rest if keys[i] not in _OTHERS]
        labels = labels if len(labels) == 1 else []
        is_class = any(values[i].numbers_classes or values[i].is_repeated for i in labels)
        if is_class and not is_label_file:
            found = quote(names[labels[0]])
            return f"the column {found} may not contain the labels; if it does, rename it to label"
    if len(labels) != 1:
        return "no column is named label" if not labels else _several("label", names, labels)
    return Columns(files[0], labels[0], split, parts)


def _name_the_same(columns: Sequence[Sequence[str]]) -> bool:
    """Whether columns have the same file names, and at most one of them with folders."""
    paths = [[value.replace("\\", "/") for value in column] for column in columns]
    names = [[path.rpartition("/")[2] for path in column] for column in paths]
    are_same = all(own == names[0] for own in names)
    return are_same and sum(own != column for own, column in zip(names, paths, strict=True)) < 2


def _split(
    keys: Sequence[str], values: Sequence[Values], others: set[int]
) -> tuple[int, dict[str, str]]:
    """Returns the column of parts, and the parts by its values; -1 if there is none."""
    if keys.count("split") == 1:
        return keys.index("split"), {}
    rest = [i for i in range(len(keys)) if i not in others]
    named = [i for i in rest if keys[i] in _SPLITS and values[i].first.lower() in PARTS]
    if len(named) == 1:
        return named[0], {}
    whole = [i for i in rest if values[i].is_whole and values[i].count]
    for of_value in (
        {i: part_names.of_values(values[i].different) for i in whole},
        {i: part_names.of_flags(keys[i], values[i].different) for i in whole},
    ):
        found = [i for i, parts in of_value.items() if parts]
        if len(found) == 1:
            return found[0], of_value[found[0]]
    return -1, {}


def _label_or_text(
    keys: Sequence[str], labels: Sequence[int], values: Sequence[Values]
) -> list[int]:
    """Chooses between the column `label` and the other label columns.

    Hugging Face's metadata can have the columns file_name, text and label, such as a.png,226md,0:
    then `label` numbers the class of the image.

    Returns:
      The column; or all candidates, if the values do not decide.
    """
    named = keys.index("label")
    others = [i for i in labels if i != named and values[i].count]
    label = values[named]
    if not label.count and len(others) == 1:
        return others
    if len(others) != 1:
        return list(labels) if others and label.numbers_classes else [named]
    text = values[others[0]]
    if label.different == text.different:
        return [named]
    if text.is_repeated and not label.is_repeated:
        return [named]  # the other one is a question, or a kind of image
    if label.numbers_classes != text.numbers_classes:
        return others if label.numbers_classes else [named]
    if label.is_typed_number != text.is_typed_number:
        return others if label.is_typed_number else [named]
    is_class = label.is_repeated and not text.is_repeated
    return list(labels) if label.has_digits_alone or is_class else [named]


def wrong_number(found: int, expected: int, above: str, has_label: bool) -> str:
    """Says what is wrong with the number of fields of a row; an empty string if it is right."""
    if found == expected:
        return ""
    what = f"{'more' if found > expected else 'fewer'} fields than {above}"
    if not has_label:
        return f"its label is empty: {what}"
    return what if found > expected else f"{what}; write the delimiters of empty fields, too"


def _several(what: str, names: Sequence[str], found: Sequence[int]) -> str:
    listed = " and ".join(quote(names[i]) for i in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    remedy = f"rename one of them to {what}"
    if what in (normalized(names[i]) for i in found):
        remedy = "remove the one that is not"
    return f"{listed}{more} can be the {what}; {remedy}"


def refuse_readings(names: Sequence[str], label: str, path: str, remedy: str) -> None:
    """Raises DataError if a table contains the readings of a model.

    Args:
      names: the names of its columns.
      label: the column that was chosen for the labels.
      path: the file.
      remedy: what to do if these are labels.
    """
    if _CONFIDENCES & set(map(normalized, names)):
        raise DataError(
            f"{path} has confidences, so it seems to contain readings, not labels; {remedy}"
        )
    if normalized(label) in _READINGS:
        raise DataError(
            f"{path} has the column {quote(label)}, so it seems to contain readings, not labels; "
            f"{remedy}"
        )
