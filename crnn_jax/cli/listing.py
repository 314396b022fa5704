"""The input and output of `predict`: lists the paths, and prints rows as text, CSV or JSON.

A row has the keys path, text, confidence, typicality (JSON only) and answered; with --explain also
characters and alternatives. Rows are printed as soon as they are available, also to a pipe.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from crnn_jax.data import unread_images
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, for_terminal, one_line
from crnn_jax.runtime import csv_rows


def expand(paths: list[str]) -> Iterator[str]:
    """Yields files as given, the images below folders in order, and the lines of stdin for -."""
    for part in arrivals(paths):
        yield from part


def arrivals(paths: list[str]) -> Iterator[Iterator[str]]:
    """Like `expand`, in groups: each has the lines of stdin that have arrived so far.

    So their images are read without waiting for more lines.
    """
    for is_stdin, group in itertools.groupby(paths, lambda path: path == "-"):
        if is_stdin:
            yield from map(iter, _arriving_lines())
        else:
            yield itertools.chain.from_iterable(map(_files, group))


def reason(path: str, error: DataError) -> str:
    """Returns why `path` was not read. A folder that `expand` has passed on has no images."""
    if not os.path.isdir(path):
        return for_terminal(error)
    try:
        Tree(Path(path))
    except OSError as found:
        return for_terminal(found.strerror or found)
    except DataError as found:
        return for_terminal(found)
    return f"the folder contains no images ({', '.join(sorted(IMAGE_SUFFIXES - {'.svg'}))})"


def _files(path: str) -> Iterable[str]:
    if not os.path.isdir(path):
        return [path]
    # A folder without images is passed on, so that it is reported like a missing file.
    return [os.path.join(path, name) for name in _images(path)] or [path]


def _arriving_lines() -> Iterator[list[str]]:
    """Yields the lines that have arrived on the standard input, then waits for more."""
    try:
        descriptor = sys.stdin.fileno()
    except OSError:  # not a file of the system, as in a test
        yield [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        return
    end = b""
    while content := os.read(descriptor, 2**16):
        *lines, end = (end + content).split(b"\n")
        yield [os.fsdecode(line).rstrip("\r") for line in lines if line.strip()]
    yield [os.fsdecode(end)] if end.strip() else []


def _images(folder: str) -> list[str]:
    """Returns the names of the images in a folder and its subfolders, sorted.

    Prints which images of other formats are left out.
    """
    try:
        found = Tree(Path(folder))
    except (OSError, DataError):  # reported when the folder is read as a file
        return []
    unread = unread_images.find(found)
    if unread:
        from crnn_jax.data import label_rows  # imports the readers of all kinds of label files

        names = label_rows.examples(list(unread))
        what = f"{label_rows.count(len(unread), 'image')} of {one_line(folder)} left out, such as"
        print(f"note: {what} {names}: {next(iter(unread.values()))}", file=sys.stderr)
    return sorted(found.images + found.dotted)


def print_text(rows: Iterator[dict[str, Any]], _: list[str]) -> None:
    """Prints a line for each row: path, text, confidence, and a flag if it is not an answer."""
    for row in rows:
        flag = "" if row.get("answered", True) else "\tunanswered"
        # A line break in a name must not look like two answers.
        path, text = one_line(row["path"]), one_line(row["text"])
        print(f"{path}\t{text}\t{row['confidence']:.4f}{flag}", flush=True)


def print_csv(rows: Iterator[dict[str, Any]], columns: list[str]) -> None:
    """Prints rows as CSV with a header."""
    write = csv_rows.writer(sys.stdout)
    write(columns)
    for row in rows:
        row["confidence"] = f"{row['confidence']:.6f}"
        write([str(row[c]).lower() if c == "answered" else row[c] for c in columns])
        sys.stdout.flush()


def print_json(rows: Iterator[dict[str, Any]], _: list[str]) -> None:
    """Prints rows as a JSON array, with one object per line."""
    separator = "["
    for row in rows:
        print(separator, json.dumps(row), end="", flush=True)
        separator = ",\n "
    print("[]" if separator == "[" else "]")


PRINTERS = {"text": print_text, "csv": print_csv, "json": print_json}
