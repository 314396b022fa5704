"""Which labels are wrong? Pictures ranked by how far the models that never saw them disagree.

Cross-validation reads each picture with models that were not trained on it. Where the label is
wrong they give it little probability, however sure they are of another (Northcutt, Jiang &
Chuang 2021, confident learning). Works from records alone; imports no jax.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from crnn_jax.data import image_io
from crnn_jax.errors import DataError, RunError, one_line
from crnn_jax.runs.run_dir import Answer, RunDir
from crnn_jax.runtime import files

_TILE = (210, 108)  # pixels of a picture on the sheet, its caption included
_COLUMNS = 4


class Doubt(NamedTuple):
    """What the models make of one label: a line of `audit.csv`."""

    file: str
    label: str
    loss: float  # mean over the models of -log p(label | picture), nats
    readers: int  # how many models read it
    disagree: int  # how many of them read something else than the label
    reading: str  # the commonest of those readings; the label if there is none
    confidence: float  # mean over the readers of `reading`

    def __str__(self) -> str:
        who = f"{self.disagree} of {self.readers} disagree, loss {self.loss:.2f}"
        return f"{self.label} or {self.reading or 'nothing'}: {who}" if self.disagree else who


def rank(workdir: str | os.PathLike[str]) -> list[Doubt]:
    """Every picture that a finished run below `workdir` validated on, doubtful labels first.

    Raises:
      RunError: there is no finished run; the runs are of different data or of different
        variants; a run left no `readings.csv`, as those of older versions, or a damaged one.
    """
    runs = [RunDir(path.parent) for path in sorted(Path(workdir).rglob("result.json"))]
    if not runs:
        raise RunError(f"{workdir} holds no finished runs (result.json)")
    if len({result.fingerprint for run in runs if (result := run.result())}) > 1:
        raise RunError(f"the runs of {workdir} are of different data; audit one set at a time")
    variants = sorted({run.workdir.parent.name for run in runs})
    if len(variants) > 1:
        raise RunError(
            f"{workdir} holds {one_line(', '.join(variants))}; give the directory of one"
        )
    readings: dict[tuple[str, str], list[Answer]] = {}
    for run in runs:
        for answer in run.read_csv("readings.csv", Answer):
            readings.setdefault((answer.file, answer.truth), []).append(answer)
    doubts = [_doubt(answers) for answers in readings.values()]
    return sorted(doubts, key=lambda doubt: (-doubt.loss, doubt.file))


def data_folder(workdir: str | os.PathLike[str]) -> str:
    """Where the record of a run below `workdir` says that its pictures lie."""
    path = next(Path(workdir).rglob("result.json"))
    return RunDir(path.parent).config_value("data.dir")


def _doubt(answers: Sequence[Answer]) -> Doubt:
    label = answers[0].truth
    wrong = [answer.reading for answer in answers if answer.reading != label]
    reading = statistics.mode(wrong) if wrong else label
    return Doubt(
        file=answers[0].file,
        label=label,
        loss=statistics.mean(answer.loss for answer in answers),
        readers=len(answers),
        disagree=len(wrong),
        reading=reading,
        confidence=statistics.mean(a.confidence for a in answers if a.reading == reading),
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
            image = image_io.open_image(files.inside(folder, doubt.file))
        except (DataError, ValueError) as error:
            raise RunError(
                f"the sheet needs {one_line(doubt.file)} of {folder}: {error}; --data names "
                "another folder"
            ) from error
        picture = image_io.flatten(image).convert("RGB")
        picture.thumbnail((width - 10, height - 48))
        sheet.paste(picture, (x, y))
        caption = one_line(str(doubt)[:200]).replace(": ", "\n").encode(errors="replace").decode()
        color = "firebrick" if doubt.disagree else "dimgray"
        pen.multiline_text((x, y + height - 44), caption, color, font)
    return sheet
