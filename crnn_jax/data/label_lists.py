"""Reads the label files of other recognizers: lists of lines, JSON, and a text file per image."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from crnn_jax.data import label_columns, label_tables
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.data.label_columns import IsImage
from crnn_jax.data.label_tables import Labels, Row
from crnn_jax.errors import DataError, quote

_SUFFIX = "|".join(sorted(re.escape(suffix) for suffix in IMAGE_SUFFIXES))
_BY_SPACE = re.compile(rf"(.+?(?:{_SUFFIX}))[ \t]+(\S.*)", re.IGNORECASE)
_MJSYNTH = re.compile(r"\d+_(.+)_(\d+)")
_PROGRESS = "filestate.txt"  # of PPOCRLabel: which images have been labeled
_YOLO = re.compile(r"\d+( \d?\.\d+){4}")


class _Number(str):
    """A number in JSON, as it is written."""


class _Pairs(list):  # type: ignore[type-arg]
    """The members of a JSON object, including duplicates."""


def lines(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads a list of lines such as `a.png 226md`, with a tab (PaddleOCR), spaces or a comma.

    Returns None if the first line does not name an image.
    """
    rows = [
        (number, line)
        for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1)
        if line.strip()
    ]
    if not rows:
        return None
    _, first = rows[0]
    head, tab, _ = first.partition("\t")
    if tab and (is_image(head) or head.startswith('["')):
        if os.path.basename(path).lower() == _PROGRESS:
            return None
        _refuse_boxes(rows, path)
        return Labels("a list of lines: image, tab, label", _by_tab(rows), True)
    if label_tables.recognized(text, path, is_image):
        return label_tables.read(text, path, is_image)
    if _BY_SPACE.fullmatch(first.strip()):
        if texts := _mjsynth(rows):
            return Labels("a list of MJSynth, texts in the file names", iter(texts), True)
        return Labels("a list of lines: image, space, label", _by_space(rows), True)
    head, _, rest = first.strip().partition(" ")
    if rest and is_image(head):
        return Labels("a list of lines: image, space, label", _by_space(rows), True)
    fields = re.split(r"[\s,;|]+", first)
    if len(fields) == 1 and label_tables.has_image_suffix(first):
        raise DataError(f"{path} names images without labels")
    if any(map(label_tables.has_image_suffix, fields)):
        label_tables.read(text, path, is_image)  # says what is wrong
    return None


def _refuse_boxes(rows: list[tuple[int, str]], path: str) -> None:
    """Raises DataError if a line has boxes of words."""
    for number, line in rows:
        if line.partition("\t")[2].startswith(('[{"transcription"', '[{"points"')):
            raise DataError(
                f"{path} is a list for text detection: line {number} has boxes. Crop the words to "
                "images of their own, with a label each"
            )


def _by_tab(rows: list[tuple[int, str]]) -> Iterator[Row]:
    for number, line in rows:
        file, tab, label = line.partition("\t")
        complaint = "" if tab else "its line has no tab, so the label is missing"
        files = _several(file)
        for name in files:
            yield Row(name, label, number, "", complaint)


def _several(file: str) -> list[str]:
    """Returns the images of a line; PaddleOCR allows a JSON list of images with one label."""
    if file.startswith('["'):
        try:
            return [str(name) for name in json.loads(file)]
        except (ValueError, RecursionError):
            pass
    return [file]


def _by_space(rows: list[tuple[int, str]]) -> Iterator[Row]:
    for number, line in rows:
        yield Row(*_split_by_space(line), number)


def _split_by_space(line: str) -> tuple[str, str]:
    """Returns the image and the label of a line; an empty label if there is none."""
    line = line.strip()
    if found := _BY_SPACE.fullmatch(line):
        return found[1], found[2]
    file, *rest = line.split(None, 1)
    return file, "".join(rest)


def _mjsynth(rows: list[tuple[int, str]]) -> list[Row] | None:
    """Reads lines of MJSynth, such as `./1/1/1_Lube_45484.jpg 45484`; None if they are others.

    The number is that of the word in a lexicon, and the text is in the file name.
    """
    texts = []
    for number, line in rows:
        file, label = _split_by_space(line)
        found = _MJSYNTH.fullmatch(PurePosixPath(file).stem)
        if not found or found[2] != label:
            return None
        texts.append(Row(file, found[1], number))
    return texts


def beside(texts: dict[str, str]) -> Labels:
    """Reads the labels of images from a text file each.

    Args:
      texts: the content of the file of each image.
    """

    def rows() -> Iterator[Row]:
        for image, text in texts.items():
            found = [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]
            complaint = ""
            if len(found) > 1:
                complaint = f"the text file beside it has {len(found)} lines; a label is one line"
            if found and all(_YOLO.fullmatch(line) for line in found):
                complaint = "the text file beside it has boxes (YOLO), not a label"
            yield Row(image, found[0] if found else "", 1, "", complaint)

    return Labels("a text file for each image", rows(), True)


def json_lines(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads JSON lines, an object each; None if the objects do not name images.

    Raises:
      DataError: a line is not JSON; the message names it.
    """
    rows = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, _parse(line)))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path} is not JSON lines: line {number}: {error}") from error
    return _objects(rows, path, is_image, "JSON lines")


def json_file(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads JSON; None if it does not name images.

    It can be an object {image: label} (docTR), an object of columns (pandas), or a list of objects
    or pairs; also inside an object with a single member, such as "annotations".

    Raises:
      DataError: it is not JSON.
    """
    try:
        value = _parse(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    while isinstance(value, _Pairs) and len(value) == 1 and isinstance(value[0][1], list):
        name, inner = value[0]
        if is_image(name):
            break
        value = inner
    if isinstance(value, _Pairs):
        if table := _table(value, is_image):
            return _objects(list(enumerate(table, 1)), path, is_image, "JSON with columns")
        if not any(is_image(name) for name, _ in value[:100]):
            return None
        return Labels("JSON of images and labels", _members(value), _has_text(value))
    if isinstance(value, list) and value:
        if all(isinstance(item, _Pairs) for item in value):
            return _objects(list(enumerate(value, 1)), path, is_image, "a JSON list of objects")
        pairs = [item for item in value if isinstance(item, list) and len(item) == 2]
        if len(pairs) == len(value) and all(isinstance(item[0], str) for item in pairs):
            if not any(is_image(item[0]) for item in pairs[:100]):
                return None
            named = _Pairs((item[0], item[1]) for item in pairs)
            return Labels("a JSON list of pairs", _members(named), _has_text(named))
    return None


def _parse(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=_Pairs,
        parse_int=_Number,
        parse_float=_Number,
        parse_constant=lambda _: None,  # NaN, as pandas writes a missing label
    )


def _has_text(pairs: _Pairs) -> bool:
    return not any(isinstance(value, _Number) for _, value in pairs)


def _members(pairs: _Pairs) -> Iterator[Row]:
    for number, (file, value) in enumerate(pairs, 1):
        label, part, complaint = value, "", ""
        if isinstance(value, _Pairs):
            value = _Pairs(pair for pair in value if pair != ("file", file))
            names = [name for name, _ in value]
            columns = label_columns.choose(["file", *names], None, lambda name: False)
            if "polygons" in names:
                complaint = "it has polygons, for text detection; crop the words to images"
            elif isinstance(columns, str):
                complaint = f"{columns} among {quote(names)}"
            else:
                label = value[columns.label - 1][1]
                part = str(value[columns.split - 1][1] or "") if columns.split > 0 else ""
        yield _row(file, label, number, part, complaint)


def _row(file: Any, label: Any, number: int, part: str = "", complaint: str = "") -> Row:
    if not complaint and not isinstance(label, str):
        complaint = f"its label is {quote(label)}, not a text"
    if not isinstance(file, str):
        return Row("", "", number, "", f"its file name is {quote(file)}, not a text")
    return Row(file, str(label) if isinstance(label, str) else "", number, part, complaint)


def _table(pairs: _Pairs, is_image: IsImage) -> list[_Pairs] | None:
    """Converts columns, as lists or as objects by row number, to rows."""
    if any(is_image(name) for name, _ in pairs):
        return None
    if len(pairs) < 2 or not all(isinstance(column, list) for _, column in pairs):
        return None
    columns = dict(pairs)
    if all(isinstance(column, _Pairs) for column in columns.values()):
        rows = dict.fromkeys(row for column in columns.values() for row, _ in column)
        members = {name: dict(column) for name, column in columns.items()}
        columns = {name: [of.get(row) for row in rows] for name, of in members.items()}
    elif any(isinstance(column, _Pairs) for column in columns.values()):
        return None
    if len({len(column) for column in columns.values()}) != 1:
        return None
    return [
        _Pairs(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _objects(rows: list[tuple[int, Any]], path: str, is_image: IsImage, kind: str) -> Labels | None:
    """Reads objects as rows of a table. An object may lack some members."""
    objects = [dict(row) for _, row in rows if isinstance(row, _Pairs)]
    if not rows or not isinstance(rows[0][1], _Pairs):
        return None
    first: dict[str, str] = {}  # the first text of each member
    for members in objects:
        for name, value in members.items():
            if not first.get(name):
                first[name] = value if isinstance(value, str) else ""
    columns = label_columns.choose(list(first), list(first.values()), is_image)
    if isinstance(columns, str):
        raise DataError(f"{path}: {columns}; its entries have {quote(list(first))}")
    file, label = list(first)[columns.file], list(first)[columns.label]
    if not any(is_image(str(members.get(file, ""))) for members in objects[:100]):
        return None
    label_columns.refuse_readings(list(first), path, "remove the confidences to use it")
    split = list(first)[columns.split] if columns.split >= 0 else ""

    def read() -> Iterator[Row]:
        for number, row in rows:
            if not isinstance(row, _Pairs):
                yield Row("", "", number, "", f"{quote(row)} is not an object")
                continue
            members = dict(row)
            part = members.get(split) or ""
            yield _row(members.get(file), members.get(label), number, str(part))

    kind = f"{kind}, members {quote(file)} and {quote(label)}"
    numbers = any(isinstance(members.get(label), _Number) for members in objects)
    return Labels(kind, read(), not numbers)
