"""A self-contained HTML page of one run: curves, misread images, confusions, confidence.

The layout is in `templates/report.html.jinja`.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.analysis import plots
from crnn_jax.data import sources
from crnn_jax.inference import metrics, recognizer
from crnn_jax.inference.explain import Explanation
from crnn_jax.runs.run_dir import Answer, RunDir, png

_MISREADS, _EXAMPLES = 60, 12  # maximum number of images shown of each kind
_MAX_CONFUSIONS = 20


class Shown(NamedTuple):
    """An image and how it was read."""

    answer: Answer
    explanation: Explanation
    image: Image.Image


def write(run: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Path:
    """Scores a run with its best weights; writes `report.html` and its plots to the run.

    Args:
      run: a run directory.
      data: a labeled folder, all of which is read; None for the run's validation part.

    Returns:
      The path of the page.

    Raises:
      RunError: the run has no trained weights.
      DataError: the data are missing, or changed after the training.
    """
    directory = RunDir(run)
    reader = recognizer.load(run)
    evaluation = reader.evaluate(data).evaluation
    answers = evaluation.answers
    misread = sorted(evaluation.misreads, key=lambda a: -a.confidence)[:_MISREADS]
    right = [a for a in answers if a.reading == a.truth]
    chosen = misread + right[:: max(1, -(-len(right) // _EXAMPLES))]
    images = [sources.image(reader.config.data, data, a.file) for a in chosen]
    shown = list(map(Shown, chosen, reader.explain(images), images))

    confusions = metrics.confusions(
        (reader.charset.split(a.truth), reader.charset.split(a.reading)) for a in answers
    )
    charts = {
        "curves.png": plots.curves(directory.epochs()),
        "confusion.png": plots.confusion(confusions, reader.charset.symbols),
        "reliability.png": plots.reliability(
            [a.confidence for a in answers], [a.reading == a.truth for a in answers]
        ),
    }
    for name, content in charts.items():
        directory.write_bytes(name, content)
    result = directory.result()
    data_name = result.data_name if result else Path(reader.config.data.dir).name
    page = _template().render(
        name=directory.workdir.resolve().name,
        summary=str(result) if result else f"not finished; weights of epoch {reader.epoch}",
        trained_on=f"{data_name}, fingerprint {reader.fingerprint[:12]}",
        seed=reader.config.seed,
        data=data,
        curves=charts["curves.png"],
        num_misread=len(evaluation.misreads),
        num_answers=len(answers),
        misread=shown[: len(misread)],
        right=shown[len(misread) :],
        confusions=_most_frequent(confusions),
        confusion_matrix=charts["confusion.png"],
        reliability=charts["reliability.png"],
        calibration_error=evaluation.calibration_error,
        coverages=[(accuracy, evaluation.coverage(accuracy)) for accuracy in metrics.ACCURACIES],
        places=_places(answers),
        record=_record(directory),
    )
    directory.write_text("report.html", page)
    return directory.workdir / "report.html"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,  # names, labels and records are untrusted text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": png, "data_url": _data_url}
    return environment.get_template("report.html.jinja")


def _data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _most_frequent(confusions: dict[tuple[str, str], int]) -> list[tuple[str, str, int]]:
    """The most frequent errors, as rows of truth, reading and count."""
    wrong = sorted(
        ((count, pair) for pair, count in confusions.items() if pair[0] != pair[1]), reverse=True
    )
    return [
        (a or "(nothing)", b or "(nothing)", count) for count, (a, b) in wrong[:_MAX_CONFUSIONS]
    ]


def _places(answers: Sequence[Answer]) -> list[tuple[str, int, int, str]]:
    """Rows of name, number right, number of images and share: by position, and by kind of text."""
    rows = []
    for position in range(max(len(a.truth) for a in answers)):
        there = [a for a in answers if len(a.truth) > position]
        hits = sum(a.reading[position : position + 1] == a.truth[position] for a in there)
        rows.append((f"character {position + 1}", hits, len(there)))
    repeats: dict[bool, list[Answer]] = {True: [], False: []}
    for a in answers:
        repeats[any(x == y for x, y in itertools.pairwise(a.truth))].append(a)
    kinds = [("texts with a doubled character", repeats[True]), ("other texts", repeats[False])]
    lengths = sorted({len(a.truth) for a in answers})
    if len(lengths) > 1:
        kinds += [
            (f"texts of {length} characters", [a for a in answers if len(a.truth) == length])
            for length in lengths
        ]
    rows += [(name, sum(a.reading == a.truth for a in some), len(some)) for name, some in kinds]
    return [(name, hits, n, f"{hits / n:.2%}" if n else "-") for name, hits, n in rows]


def _record(directory: RunDir) -> dict[str, dict[str, Any]]:
    result = directory.result()
    return {
        "Result": dataclasses.asdict(result) if result else {},
        "Configuration": config_lib.flatten(config_lib.to_dict(directory.config())),
        "Environment": config_lib.flatten(directory.environment()),
    }
