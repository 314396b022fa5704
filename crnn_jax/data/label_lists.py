"""Reads the label files of other recognizers: lists of lines, and a text file for each image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from crnn_jax.data import label_file_names, label_tables
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.data.label_columns import FILES, LABELS, IsImage, normalized
from crnn_jax.data.label_heads import without_comments
from crnn_jax.data.label_tables import Labels, Row
from crnn_jax.errors import DataError

_SUFFIX = "|".join(sorted(re.escape(suffix) for suffix in IMAGE_SUFFIXES))
_BY_SPACE = re.compile(rf"(.+?(?:{_SUFFIX}))[ \t]+(\S.*)", re.IGNORECASE)
_MJSYNTH = re.compile(r"\d+_(.+)_(0|[1-9]\d{0,4})")
_QUOTED_IMAGE = re.compile(rf"""["'][^"']+({_SUFFIX})["'] *:""", re.IGNORECASE)
_LINE = 1000  # characters of a line that are looked at
_FIRST = 1000  # lines that are looked at
_LEXICON = 90_000  # MJSynth has 88,172 words
_YOLO = re.compile(r"\d+( \d?\.\d+){4}")


class NoLabelsError(DataError):
    """A file only lists images."""


def lines(text: str, path: str, is_image: IsImage) -> Labels | None:
    """Reads a list of lines such as `a.png 226md`, with a tab (PaddleOCR), spaces or a comma.

    Above it can be comments that begin with `#`, and a line with the names of the columns or the
    number of images. Returns None if the first line below these does not name an image.
    """
    if label_file_names.is_progress(path):
        return None
    text = without_comments(text.lstrip("\ufeff"), is_image)
    rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not rows:
        return None
    if found := _of_rows(rows, path, is_image):
        return found
    try:
        return label_tables.read(text, path, is_image)
    except DataError as error:
        problem = error
    if found := _by_space(rows, path, is_image):
        return found
    _, first = rows[0]
    if len(rows) > 1 and _is_head(first):
        found = _of_rows(rows[1:], path, is_image) or _by_space(rows[1:], path, is_image)
        if found:
            return found
    if text.lstrip().startswith("{") and _QUOTED_IMAGE.search(first[:_LINE]):
        raise DataError(f"{path} has a dictionary; save it as a .json file, with double quotes")
    listed = [line.strip() for _, line in rows[:_FIRST]]
    are_different = 1 < len(listed) == len(set(listed))
    if are_different and all(map(is_image, listed)):
        raise NoLabelsError(f"{path} names images without labels")
    fields = re.split(r"[\s,;|]+", first)
    if len(fields) == 1 and label_tables.has_image_suffix(first):
        raise NoLabelsError(f"{path} names images without labels")
    if any(map(label_tables.has_image_suffix, fields)):
        raise problem
    return None


def _is_head(line: str) -> bool:
    """Whether a line has names of columns, or only the number of images."""
    fields = line.split()
    return line.strip().isdecimal() or all(normalized(field) in FILES | LABELS for field in fields)


def _of_rows(rows: list[tuple[int, str]], path: str, is_image: IsImage) -> Labels | None:
    """Reads lines of an image, a tab and a label; None if the first line has another form."""
    _, first = rows[0]
    head, tab, _ = first.partition("\t")
    if not tab or not (is_image(head) or head.startswith('["')):
        return None
    _refuse_boxes(rows, path)
    return Labels("a list of lines: image, tab, label", _by_tab(rows), True)


def _by_space(rows: list[tuple[int, str]], path: str, is_image: IsImage) -> Labels | None:
    """Reads lines of an image, spaces and a label; None if the first line has another form."""
    _, first = rows[0]
    head, _, rest = first.strip().partition(" ")
    has_suffix = _BY_SPACE.fullmatch(first.strip())
    if has_suffix and "\t" in has_suffix[1]:
        columns = first.count("\t") + 1
        raise DataError(f"the lines of {path} have {columns} columns; leave only image and label")
    if not has_suffix and not (rest and is_image(head)):
        return None
    if has_suffix and (texts := _mjsynth(rows)):
        return Labels("a list of MJSynth, texts in the file names", iter(texts), True)
    read = (Row(*_split_by_space(line), number) for number, line in rows)
    return Labels("a list of lines: image, space, label", read, True)


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
        if "\t" in label.strip():
            complaint = f"its line has {line.count(tab) + 1} columns; leave only image and label"
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


def _split_by_space(line: str) -> tuple[str, str]:
    """Returns the image and the label of a line; an empty label if there is none."""
    line = line.strip()
    if found := _BY_SPACE.fullmatch(line):
        return found[1], found[2]
    file, *rest = line.split(None, 1)
    return file, "".join(rest)


def _mjsynth(rows: list[tuple[int, str]]) -> list[Row] | None:
    """Reads lines of MJSynth, such as `./1/1/1_Lube_45484.jpg 45484`; None if they are others.

    The number is that of the word in a lexicon, and the text is in the file name. A number belongs
    to one word, so there are about as many words as numbers. Otherwise the middle of the names is
    something else, such as a font, and the numbers are the texts.
    """
    texts = []
    words, numbers = set(), set()
    for number, line in rows:
        file, label = _split_by_space(line)
        found = _MJSYNTH.fullmatch(PurePosixPath(file).stem)
        if not found or found[2] != label or int(label) >= _LEXICON:
            return None
        texts.append(Row(file, found[1], number))
        words.add(found[1].casefold())
        numbers.add(label)
    return texts if 2 * len(words) > len(numbers) else None


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
                complaint = f"the text file beside it has {len(found)} lines; write the text in one"
            if found and all(_YOLO.fullmatch(line) for line in found):
                complaint = "the text file beside it has boxes (YOLO), not a label"
            yield Row(image, found[0] if found else "", 1, "", complaint)

    return Labels("a text file for each image", rows(), True)
