"""Which labels are wrong? Pictures ranked by how far the models that never saw them disagree.

Cross-validation reads each picture with models that were not trained on it. Where the label is
wrong they give it little probability, however sure they are of another (Northcutt, Jiang &
Chuang 2021, confident learning). Works from records alone; imports no jax.
"""

from __future__ import annotations

import csv
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from crnn_jax.errors import RunError
from crnn_jax.record import Record

_TILE = (210, 108)  # pixels of a picture on the sheet, its caption included
_COLUMNS = 4


class Doubt(NamedTuple):
    """What the models make of one label: a line of `audit.csv`."""

    file: str
    label: str
    loss: float  # mean over the models of -log p(label | picture), nats
    reading: str  # that most of them give
    readers: int  # how many read it
    disagree: int  # how many of them read something else than the label
    confidence: float  # mean over the readers of `reading`


def rank(workdir: str | os.PathLike[str]) -> list[Doubt]:
    """Every picture that a run below `workdir` validated on, the most doubtful label first.

    Raises:
      RunError: there is no `readings.csv` of a finished run.
    """
    readings: dict[tuple[str, str], list[dict[str, str]]] = {}
    for path in sorted(Path(workdir).rglob("readings.csv")):
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            for row in csv.DictReader(file):
                readings.setdefault((row["file"], row["truth"]), []).append(row)
    if not readings:
        raise RunError(f"{workdir} holds no finished runs (readings.csv)")
    doubts = [_doubt(file, label, rows) for (file, label), rows in readings.items()]
    return sorted(doubts, key=lambda doubt: (-doubt.loss, doubt.file))


def data_folder(workdir: str | os.PathLike[str]) -> str:
    """Where the record of a run below `workdir` says that its pictures lie."""
    path = next(Path(workdir).rglob("readings.csv"))
    return Record(path.parent).config().data.dir


def _doubt(file: str, label: str, rows: Sequence[dict[str, str]]) -> Doubt:
    texts = [row["reading"] for row in rows]
    reading = statistics.mode(texts)
    return Doubt(
        file=file,
        label=label,
        loss=statistics.mean(float(row["loss"]) for row in rows),
        reading=reading,
        readers=len(rows),
        disagree=sum(text != label for text in texts),
        confidence=statistics.mean(float(r["confidence"]) for r in rows if r["reading"] == reading),
    )


def contact_sheet(doubts: Sequence[Doubt], folder: str | os.PathLike[str]) -> Image.Image:
    """The pictures of `doubts`, row by row, each above its label, reading and loss.

    Raises:
      RunError: a picture is not in `folder` or cannot be opened.
    """
    width, height = _TILE
    lines = -(-len(doubts) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, lines * height), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for i, doubt in enumerate(doubts):
        x, y = i % _COLUMNS * width + 5, i // _COLUMNS * height + 5
        try:
            with Image.open(Path(folder) / doubt.file) as file:
                picture = file.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise RunError(f"the sheet needs {doubt.file} of {folder}: {error}") from error
        picture.thumbnail((width - 10, height - 48))
        sheet.paste(picture, (x, y))
        caption = (
            f"{doubt.label} read as {doubt.reading or 'nothing'}\n"
            f"loss {doubt.loss:.2f}, {doubt.disagree} of {doubt.readers} disagree"
        )
        color = "firebrick" if doubt.disagree else "dimgray"
        pen.multiline_text((x, y + height - 44), caption, color, font)
    return sheet
