"""Chooses the label files of a folder.

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
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePath

from crnn_jax.data import label_lists, label_rows, label_tables, parquet, text_files
from crnn_jax.data.label_columns import IsImage
from crnn_jax.data.label_rows import Listing
from crnn_jax.data.label_tables import LABELS_FILE, Labels, UnrelatedTableError
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, brief, one_line
from crnn_jax.runtime import files

__all__ = ["FILE_NAMES", "LABELS_FILE", "read", "search", "why_foreign"]

FILE_NAMES = "the file names"
MAX_BYTES = 2**28
# Words in the names of files that have labels.
_OF_LABELS = frozenset([
    "label", "labels", "annotation", "annotations", "ann", "anno", "gt", "groundtruth", "truth",
    "train", "val", "test", "text", "texts", "word", "words", "transcription", "transcriptions",
    "metadata", "captcha", "captchas", "answer", "answers", "solutions",
])  # fmt: skip
_SPREADSHEETS = (".xls", ".xlsx", ".ods", ".numbers")
_ADVICE = dict.fromkeys((*_SPREADSHEETS, ".xml"), "save it as CSV in UTF-8")

_UNKNOWN = "it does not name images of this folder in the form of a label file"

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


def read(tree: Tree) -> Listing | None:
    """Reads the label files of a folder. None if there are none; then file names are the labels.

    Raises:
      OSError: a label file cannot be read.
      DataError: a label file has no known format, or it is too long or damaged.
    """
    return search(tree)[0]


def search(tree: Tree) -> tuple[Listing | None, tuple[str, ...]]:
    """Like `read`. If the file names are the labels, also returns warnings.

    A warning names a file that may contain labels, and says why it is not used. For files in the
    folders of the images, `why_foreign` gives the reason instead.
    """
    if os.path.lexists(tree.folder / LABELS_FILE):
        return _of_labels_file(tree), ()
    texts = text_files.find(tree)
    readers, errors, unknown = _open_all(tree, set(texts.values()))
    if readers:
        found = label_rows.collect(tree, readers)
        return found._replace(warnings=(*found.warnings, *_first(_unused(errors)))), ()
    if texts and 2 * len(texts) >= len(tree.images):
        return _of_texts(tree, texts), ()
    if errors and not tree.images:
        raise next(iter(errors.values()))
    reasons: dict[str, object] = {**dict.fromkeys(unknown, _UNKNOWN), **errors}
    for name in tree.others:
        suffix = PurePath(name).suffix.lower()
        if suffix in _SPREADSHEETS or (suffix in _ADVICE and _sounds_like_labels(tree, name)):
            reasons[name] = f"if it has the labels, {_ADVICE[suffix]}"
    unused = _unused({name: reasons[name] for name in reasons.keys() - set(tree.foreign())})
    if texts:
        first = label_rows.examples(list(texts.values())[:1])
        unused.append(
            f"the text files of images, such as {first}, are not used, because "
            f"{_share(texts, tree)} have one"
        )
    return None, _first(unused)


def _of_labels_file(tree: Tree) -> Listing:
    """Reads labels.csv."""
    path = tree.folder / LABELS_FILE
    text = label_tables.decode(files.read(path, MAX_BYTES), str(path))
    labels = label_tables.read(text, str(path), is_image_of(tree))
    found = label_rows.collect(tree, [(LABELS_FILE, labels)])
    others = [name for name in tree.others if PurePath(name).suffix.lower() in _TABLES]
    others = [name for name in others if name != LABELS_FILE]
    if not others:
        return found
    names = label_rows.examples(others)
    hidden = f"{LABELS_FILE} is read, and no other label file: {names}"
    return found._replace(warnings=(*found.warnings, hidden))


def _of_texts(tree: Tree, texts: Mapping[str, str]) -> Listing:
    """Reads the text file of each image."""
    contents = {image: _text(tree, name) for image, name in texts.items()}
    found = label_rows.collect(tree, [("", label_lists.beside(contents))])
    beside = set(texts.values())
    lost = [name for name in text_files.names(tree) if name not in beside]
    if not lost:
        return found
    what = label_rows.count(len(lost), "text file")
    left_out = f"{what} without an image: left out, such as {label_rows.examples(lost)}"
    return found._replace(warnings=(*found.warnings, left_out))


def _open_all(
    tree: Tree, skipped: Collection[str]
) -> tuple[list[tuple[str, Labels]], dict[str, DataError], list[str]]:
    """Opens all label files.

    Returns:
      Name and content of each label file, why files cannot be used, and the names of files that may
      have labels in an unknown form.
    """
    is_image = is_image_of(tree)
    readers: list[tuple[str, Labels]] = []
    errors: dict[str, DataError] = {}
    unknown = []
    for name in tree.others:
        if name in skipped:
            continue
        try:
            if labels := _opened(tree, name, is_image):
                if "submission" in _words(name):
                    raise DataError("it shows the form of an answer to Kaggle, and has no labels")
                readers.append((name, labels))
            elif PurePath(name).suffix.lower() in _READERS and _sounds_like_labels(tree, name):
                unknown.append(name)
        except DataError as error:
            errors[name] = error
    return readers, errors, unknown


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", PurePath(name).stem.lower()))


def _sounds_like_labels(tree: Tree, name: str) -> bool:
    """Whether a file is named as label files are, or as an image of the folder."""
    return bool(_OF_LABELS & _words(name)) or is_image_of(tree)(PurePath(name).stem)


def why_foreign(tree: Tree) -> dict[str, str]:
    """Says why files in the folders of the images are neither images nor label files, by name."""
    texts = text_files.find(tree)
    beside = set(texts.values())
    why = f"the text file of an image, but {_share(texts, tree)} have one; write the others"
    return {name: why if name in beside else _why(tree, name) for name in tree.foreign()}


def _why(tree: Tree, name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    if suffix in _ADVICE:
        return f"not an image; if it has the labels, {_ADVICE[suffix]}"
    if suffix not in SUFFIXES:
        return "not an image"
    try:
        _opened(tree, name, is_image_of(tree))
    except (DataError, OSError) as error:
        return f"not an image, nor a label file: {brief(error)}"
    return f"not an image, and {_UNKNOWN}"


def _share(texts: Mapping[str, str], tree: Tree) -> str:
    return f"fewer than half of the images ({len(texts)} of {len(tree.images)})"


def is_image_of(tree: Tree) -> IsImage:
    """Returns a function that says whether a field can be the name of an image of the folder."""

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


def _unused(reasons: Mapping[str, object]) -> list[str]:
    """Says why label files are not used. Tables without labels are not mentioned."""
    return [
        f"{one_line(name)[:100]} is not used: {brief(reason)}"
        for name, reason in sorted(reasons.items())
        if not isinstance(reason, UnrelatedTableError)
    ]


def _first(warnings: list[str]) -> tuple[str, ...]:
    """Returns the first five warnings, and the number of the others."""
    more = [f"{len(warnings) - 5} more files are not used"] if len(warnings) > 5 else []
    return (*warnings[:5], *more)


def _text(tree: Tree, name: str) -> str:
    return label_tables.decode(files.read(tree.folder / name, 2**16), str(tree.folder / name))
