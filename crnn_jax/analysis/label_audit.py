"""Finds wrong labels by ranking images by the loss of models that were not trained on them.

In a cross-validation each image is read by models that were not trained on it. They give a wrong
label a low probability, even when they are confident about another text (Northcutt, Jiang & Chuang
2021, confident learning). Only records are read; jax is not imported.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from crnn_jax.analysis import cells
from crnn_jax.config import DataConfig
from crnn_jax.data import image_io
from crnn_jax.data.folder import source_of
from crnn_jax.errors import DataError, RunError, one_line
from crnn_jax.runs.result import Answer
from crnn_jax.runs.run_dir import RunDir

_TILE = (210, 108)  # width and height of an image with its caption on the sheet, in pixels
_COLUMNS = 4


class RankedLabel(NamedTuple):
    """How the models read the image of one label: a row of `audit.csv`."""

    file: str
    label: str
    loss: float  # mean over the models of -log p(label | image), nats
    readers: int  # number of models that read it
    disagree: int  # number of models that read a different text
    reading: str  # the most frequent different text; the label if there is none
    confidence: float  # mean over the models that read `reading`

    def __str__(self) -> str:
        loss = f"loss {self.loss:.2f}"
        if not self.disagree:
            return loss
        who = f"{self.disagree} of {self.readers} models read it differently"
        return f"labeled {self.label}; {who}, for example as {self.reading or 'nothing'}; {loss}"


def rank(workdir: str | os.PathLike[str]) -> list[RankedLabel]:
    """Ranks the validation images of all finished runs below `workdir`, largest loss first.

    Raises:
      RunError: there is no finished run; the runs used different data or belong to different
        variants; a `readings.csv` is damaged, or missing as in runs of older versions.
    """
    runs = [RunDir(path) for path in cells.finished(workdir)]
    if not runs:
        raise RunError(f"{workdir} contains no finished runs (result.json)")
    if len({result.fingerprint for run in runs if (result := run.result())}) > 1:
        raise RunError(f"the runs in {workdir} used different data; audit one data set at a time")
    for run in runs:
        if (result := run.result()) and not result.num_val:
            raise RunError(
                f"{one_line(str(run.workdir))} has no validation part; an audit needs readings of "
                "images that were not used for training"
            )
    variants = sorted({os.path.relpath(run.workdir.parent, workdir) for run in runs})
    if len(variants) > 1:
        raise RunError(
            f"{workdir} contains the variants {one_line(', '.join(variants))}; give the directory "
            "of one of them"
        )
    readings: dict[tuple[str, str], list[Answer]] = {}
    for run in runs:
        for answer in run.read_csv("readings.csv", Answer):
            readings.setdefault((answer.file, answer.truth), []).append(answer)
    doubts = [_ranked_label(answers) for answers in readings.values()]
    return sorted(doubts, key=lambda doubt: (-doubt.loss, doubt.file))


def data_of(workdir: str | os.PathLike[str]) -> DataConfig:
    """Returns the data section of the first finished run below `workdir`."""
    return RunDir(cells.finished(workdir)[0]).config().data


def _ranked_label(answers: Sequence[Answer]) -> RankedLabel:
    label = answers[0].truth
    wrong = [answer.reading for answer in answers if answer.reading != label]
    reading = statistics.mode(wrong) if wrong else label
    return RankedLabel(
        file=answers[0].file,
        label=label,
        loss=statistics.mean(answer.loss for answer in answers),
        readers=len(answers),
        disagree=len(wrong),
        reading=reading,
        confidence=statistics.mean(a.confidence for a in answers if a.reading == reading),
    )


def contact_sheet(doubts: Sequence[RankedLabel], data: DataConfig) -> Image.Image:
    """Draws the images of `doubts` row by row, each above its label, reading and loss.

    Args:
      doubts: the images.
      data: names the folder of the images.

    Raises:
      RunError: an image does not exist or cannot be opened.
    """
    width, height = _TILE
    lines = -(-len(doubts) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, lines * height), "white")
    pen = ImageDraw.Draw(sheet)
    typeface = _typeface()
    for i, doubt in enumerate(doubts):
        x, y = i % _COLUMNS * width + 5, i // _COLUMNS * height + 5
        try:
            image = image_io.open_image(source_of(data, doubt.file), data.frame or "first")
        except (DataError, ValueError) as error:
            raise RunError(
                f"the contact sheet needs {one_line(doubt.file)} from {data.dir}: {error}; give "
                "the folder of the data set with --data"
            ) from error
        image = image_io.flatten(image).convert("RGB")
        image.thumbnail((width - 10, height - 48))
        sheet.paste(image, (x, y))
        caption = typeface.drawable(one_line(str(doubt)[:200])).replace(": ", "\n")
        color = "firebrick" if doubt.disagree else "dimgray"
        pen.multiline_text((x, y + height - 44), caption, color, typeface.font)
    return sheet


class _Typeface(NamedTuple):
    """A font, and a function that says whether it has a character."""

    font: Any
    has: Callable[[str], bool]

    def drawable(self, text: str) -> str:
        """Replaces characters that the font lacks by escapes."""
        return "".join(
            c if c.isascii() or self.has(c) else c.encode("ascii", "backslashreplace").decode()
            for c in text
        )


def _typeface() -> _Typeface:
    """Returns a font with the letters of many scripts, which comes with matplotlib."""
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font

        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        glyphs = FT2Font(os.fspath(path))
        return _Typeface(ImageFont.truetype(path, 12), lambda c: glyphs.get_char_index(ord(c)) > 0)
    except (ImportError, OSError):
        return _Typeface(ImageFont.load_default(12), lambda c: False)
