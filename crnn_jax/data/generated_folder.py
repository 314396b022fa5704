"""Writes a folder of generated images with their labels."""

from __future__ import annotations

import csv
import functools
import os
from pathlib import Path

from crnn_jax import bidi
from crnn_jax.data import generated, label_files
from crnn_jax.data.generated import Draw
from crnn_jax.data.synthetic.look import Look
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import ConfigError, DataError, one_line
from crnn_jax.runtime import staging


def write(name: str, count: int, seed: int, folder: str | os.PathLike[str]) -> None:
    """Writes `count` images of a style as PNGs, and their labels.csv, to a new folder.

    The images are generated and written in chunks, so that memory does not grow with `count`.

    Raises:
      ConfigError: the style, the count or the seed is invalid.
      DataError: the folder exists already, or cannot be written.
    """
    if not 1 <= count < 2**31:
        raise ConfigError(f"the count must be from 1 to 2**31 - 1, not {count}")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"the seed must be from 0 to 2**32 - 1, not {seed}")
    folder, look = Path(folder), family.load(name)
    if "\0" in str(folder):
        raise DataError(f"{one_line(str(folder))} is not a valid folder name")
    if os.path.lexists(folder):
        raise DataError(f"{one_line(str(folder))} exists already; name a new folder")
    draw = functools.partial(look.drawer(), seed)
    with staging.directory(folder) as partial:
        try:
            _write_set(partial, look, draw, count)
        except OSError as error:
            raise DataError(
                f"{one_line(str(folder))} cannot be written: {error.strerror}"
            ) from error


def _write_set(folder: Path, look: Look, draw: Draw, count: int) -> None:
    with (folder / label_files.LABELS_FILE).open("x", encoding="utf-8", newline="") as file:
        # Quotes mark labels as text: digits without leading zeros are then not taken for damaged.
        labels = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        labels.writerow(("file", "label"))
        number = 0
        for pixels, texts in generated.drawn(look, draw, range(count)):
            for image, text in zip(pixels, map(_typed, texts), strict=True):
                generated.to_image(image).save(folder / f"{number:06d}.png")
                labels.writerow((f"{number:06d}.png", text))
                number += 1


def _typed(text: str) -> str:
    """Returns a text in the order in which it is typed; it is drawn from left to right."""
    return bidi.logical(text) if bidi.has_right_to_left([text]) else text
