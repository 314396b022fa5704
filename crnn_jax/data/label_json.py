"""Reads labels in JSON: objects, lists and columns, and JSON lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from crnn_jax.data import label_columns, label_file_names
from crnn_jax.data.column_values import Values
from crnn_jax.data.label_columns import FILES, LABELS, IsImage, normalized
from crnn_jax.data.label_tables import DamagedError, Labels, Row, has_image_suffix
from crnn_jax.data.part_names import PARTS
from crnn_jax.errors import DataError, quote

# Members that have the rows, beside others about the data set.
_ROWS = ("images", "data_list", "samples", "annotations", "data", "labels", "items")


class _Number(str):
    """A number in JSON, as it is written."""


class _Pairs(list):  # type: ignore[type-arg]
    """The members of a JSON object, including duplicates."""


def lines(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads JSON lines, an object each; None if the objects do not name images.

    Raises:
      DamagedError: a line is not JSON; the message names it.
      DataError: the columns cannot be recognized.
    """
    rows = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, _parse(line)))
            except (ValueError, RecursionError) as error:
                raise DamagedError(f"{path} is not JSON lines: line {number}: {error}") from error
    return _objects(rows, path, is_image, "JSON lines")


def read(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads JSON; None if it does not name images.

    It can be an object {image: label} (docTR), an object of columns (pandas), or a list of objects
    or pairs; also inside an object that has the parts as members, or a single member, or one such
    as "images".

    Raises:
      DamagedError: it is not JSON.
      DataError: its columns cannot be recognized.
    """
    try:
        value = _parse(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not JSON: {error}") from error
    if isinstance(value, _Pairs) and all(
        name.lower() in PARTS and isinstance(inner, list) for name, inner in value
    ):
        return _of_parts(value, path, is_image)
    return _of_value(value, path, is_image)


def _of_parts(parts: _Pairs, path: str, is_image: IsImage) -> Labels | None:
    """Reads an object that has an object or a list for each part of the data set."""
    found = [(name, _of_value(value, path, is_image)) for name, value in parts if value]
    labels = [(name, inner) for name, inner in found if inner]
    if not labels:
        return None
    if unread := [name for name, inner in found if not inner]:
        raise DataError(f"{path}: its member {quote(unread[0])} does not name images")
    numbers = itertools.count(1)
    rows = (
        row._replace(part=row.part or name, line=next(numbers))
        for name, inner in labels
        for row in inner.rows
    )
    kinds = " and ".join(dict.fromkeys(inner.kind for _, inner in labels))
    return Labels(f"{kinds} for each part", rows, all(inner.is_text for _, inner in labels))


def _of_value(value: Any, path: str, is_image: IsImage) -> Labels | None:
    while isinstance(value, _Pairs) and len(value) == 1 and isinstance(value[0][1], list):
        name, inner = value[0]
        if is_image(name):
            break
        value = inner
    if isinstance(value, _Pairs):
        return _of_object(value, path, is_image)
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


def _of_object(value: _Pairs, path: str, is_image: IsImage) -> Labels | None:
    if not any(is_image(name) for name, _ in value[:100]):
        problem = None
        for name, inner in sorted(value, key=lambda member: member[0] != "labels"):
            files = [file for file, _ in inner[:100]] if isinstance(inner, _Pairs) else []
            if name not in _ROWS or not any(map(has_image_suffix, files)):
                continue
            try:  # the first member that has labels; another one may have sizes
                if found := _of_object(inner, path, is_image):
                    return found
            except DataError as error:
                problem = problem or error
        if problem:
            raise problem
    if table := _table(value, is_image):
        return _objects(list(enumerate(table, 1)), path, is_image, "JSON with columns")
    if any(is_image(name) for name, _ in value[:100]):
        filled = [inner for _, inner in value if inner is not None]
        if filled and all(isinstance(inner, _Pairs) for inner in filled):
            rows = list(enumerate(_named(value, path), 1))
            return _objects(rows, path, is_image, "JSON of images and objects")
        return Labels("JSON of images and labels", _members(value), _has_text(value))
    if value and all(_has_columns(inner) for _, inner in value):
        rows = [(number, inner) for number, (_, inner) in enumerate(value, 1)]
        return _objects(rows, path, is_image, "JSON of objects")
    return _of_member(value, path, is_image)


def _of_member(value: _Pairs, path: str, is_image: IsImage) -> Labels | None:
    """Reads the first member that has a list of objects with images and labels."""
    problem = None
    for name, inner in value:
        if name not in _ROWS or not isinstance(inner, list) or isinstance(inner, _Pairs):
            continue
        members = {n for item in inner[:100] if isinstance(item, _Pairs) for n, _ in item}
        if "image_id" in members and "images" in dict(value):
            inner = _with_files(inner, dict(value)["images"])
        kind = f"the member {quote(name)} of JSON"
        try:
            if found := _objects(list(enumerate(inner, 1)), path, is_image, kind):
                return found
        except DataError as error:
            problem = problem or error
    if problem:
        raise problem
    return None


def _with_files(annotations: list[Any], images: Any) -> list[Any]:
    """Replaces `image_id`, the number of an entry of `images`, by the file (COCO captions)."""
    known = images if isinstance(images, list) else ()
    entries = [dict(item) for item in known if isinstance(item, _Pairs)]
    files = {str(entry.get("id")): entry.get("file_name") for entry in entries}
    return [
        _Pairs(
            ("file", files.get(str(inner))) if name == "image_id" else (name, inner)
            for name, inner in item
            if name != "id"
        )
        if isinstance(item, _Pairs)
        else item
        for item in annotations
    ]


def _of_word(item: Any, number: int, path: str) -> Any:
    """Replaces the list `instances` of MMOCR by the text of its only word."""
    words = dict(item).get("instances") if isinstance(item, _Pairs) else None
    if not isinstance(words, list) or isinstance(words, _Pairs):
        return item
    if any(normalized(name) in LABELS for name, _ in item):
        return item  # the instances are parts of its text
    if len(words) > 1:
        raise DataError(
            f"{path} is for text detection: entry {number} has {len(words)} words. Crop the words "
            "to images of their own, with a label each"
        )
    text = [
        pair for word in words if isinstance(word, _Pairs) for pair in word if pair[0] == "text"
    ]
    return _Pairs([*(pair for pair in item if pair[0] != "instances"), *text])


def _named(value: _Pairs, path: str) -> Iterator[Any]:
    """Adds the name of each member to its object, as the member `file`."""
    for number, (file, members) in enumerate(value, 1):
        inner = members or ()  # null, for an image without a label
        if "polygons" in (name for name, _ in inner):
            raise DataError(
                f"{path} is for text detection: entry {number} has polygons. Crop the words to "
                "images of their own, with a label each"
            )
        others = _Pairs(pair for pair in inner if pair != ("file", file))
        if "file" in (name for name, _ in others):
            raise DataError(
                f'{path}: entry {number} is named {quote(file)}, but its member "file" differs'
            )
        yield _Pairs([("file", file), *others])


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
    for number, (file, label) in enumerate(pairs, 1):
        yield _row(file, label, number)


def _row(file: Any, label: Any, number: int, part: str = "") -> Row:
    if not isinstance(file, str):
        return Row("", "", number, "", f"its file name is {quote(file)}, not a string")
    if not isinstance(label, str):
        return Row(file, "", number, part, f"its label is {quote(label)}, not a string")
    return Row(file, str(label), number, part)


def _table(pairs: _Pairs, is_image: IsImage) -> list[_Pairs] | None:
    """Converts columns, as lists or as objects by row number, to rows."""
    if any(is_image(name) for name, _ in pairs):
        return None
    if not _has_columns(pairs) and _has_columns(pairs[0][1] if pairs else None):
        return None  # rows, not columns
    if len(pairs) < 2 or not all(isinstance(column, list) for _, column in pairs):
        return None
    columns = dict(pairs)
    if all(isinstance(value, _Pairs) for column in columns.values() for value in column[:1]):
        return None  # lists of objects, as in COCO
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


def _has_columns(value: Any) -> bool:
    """Whether a member of an object has the name of a column."""
    return isinstance(value, _Pairs) and any(normalized(n) in FILES | LABELS for n, _ in value)


def _objects(rows: list[tuple[int, Any]], path: str, is_image: IsImage, kind: str) -> Labels | None:
    """Reads objects as rows of a table. An object may lack some members."""
    rows = [(number, _of_word(item, number, path)) for number, item in rows]
    objects = [dict(row) for _, row in rows if isinstance(row, _Pairs)]
    if not rows or not isinstance(rows[0][1], _Pairs):
        return None
    values: dict[str, Values] = {}  # those of each member
    for members in objects:
        for name, value in members.items():
            column = values.setdefault(name, Values())
            column.is_typed_number |= isinstance(value, _Number)
            if isinstance(value, (str, bool)):
                column.add([str(value)])
    names = list(values)
    is_labels = label_file_names.sounds_like_labels(path)
    columns = label_columns.choose(names, list(values.values()), is_image, is_labels)
    is_clear = not isinstance(columns, str) and normalized(names[columns.label]) in LABELS
    if {"annotations", "data"} <= values.keys() and not is_clear:
        raise DataError(
            f"{path} is an export of Label Studio with all annotations; export JSON-MIN or CSV"
        )
    if isinstance(columns, str):
        raise DataError(f"{path}: {columns}; its entries have {quote(names)}")
    file, label = names[columns.file], names[columns.label]
    if not any(is_image(str(members.get(file, ""))) for members in objects[:100]):
        return None
    if PurePath(path).stem.lower() != "labels":
        remedy = f"rename it to labels{PurePath(path).suffix.lower()} to use it"
        label_columns.refuse_readings(names, label, path, remedy)
    split = names[columns.split] if columns.split >= 0 else ""

    def read() -> Iterator[Row]:
        for number, row in rows:
            if not isinstance(row, _Pairs):
                yield Row("", "", number, "", f"{quote(row)} is not an object")
                continue
            members = dict(row)
            part = columns.part(members.get(split))
            yield _row(members.get(file), members.get(label), number, part)

    kind = f"{kind}, members {quote(file)} and {quote(label)}"
    return Labels(kind, read(), not values[label].is_typed_number)
