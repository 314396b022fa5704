"""A self-contained HTML page of one run: curves, misread images, confusions, confidence.

The layout is in `templates/report.html.jinja`. Misread images can be filtered by confidence and by
confused pair.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.analysis import axes, charts, learning_curves, page, plots
from crnn_jax.analysis.axes import Axis
from crnn_jax.analysis.charts import Line, Point, Spot
from crnn_jax.analysis.page import Cell, Figure, Table
from crnn_jax.config.data_keys import Frame
from crnn_jax.data import sources
from crnn_jax.inference import metrics, recognizer
from crnn_jax.inference.explain import Explanation
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runs import record_types
from crnn_jax.runs.result import Answer
from crnn_jax.runs.run_dir import RunDir

_MISREADS, _EXAMPLES = 60, 12  # maximum number of images shown of each kind
_MAX_LISTED = 2000  # misread images in the table
_MAX_CONFUSIONS = 20
_MAX_EPOCHS = 300  # points of a curve
_BINS = 10
_SIZE = (1024, 512)  # pixels of an image on the page, at most

Pair = tuple[str, str]  # truth and reading of a symbol; '' for none


class Shown(NamedTuple):
    """An image and how it was read."""

    answer: Answer
    pairs: str  # numbers of its confused pairs in the filter, separated by spaces
    explanation: Explanation
    image: Image.Image


class Misreads(NamedTuple):
    """The misread images that the page lists, those with the highest confidence first."""

    answers: list[Answer]
    pairs: list[str]  # numbers of its confused pairs, separated by spaces, for each image
    options: list[tuple[str, int]]  # the pairs, most frequent first, with the number of images


def write(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    frame: Frame | None = None,
) -> Path:
    """Scores a run with its best weights; writes `report.html` and its plots to the run.

    Args:
      run: a run directory.
      data: a labeled folder, whose images are all read; None for the run's validation part.
      frame: what to read from the animations of the folder; None for the run's data.frame.

    Returns:
      The path of the page.

    Raises:
      RunError: the run has no trained weights.
      DataError: the data are missing, or changed after the training.
      ConfigError: `frame` is not allowed, or there is no folder.
    """
    directory = RunDir(run)
    epochs = directory.epochs()
    reader = recognizer.load(run)
    evaluation = reader.evaluate(data, frame=frame).evaluation
    answers = evaluation.answers
    misreads = _misreads(evaluation.misreads, reader.charset.split)
    misread, right = _shown(reader, answers, misreads, data, frame)
    confusions = metrics.confusions(
        (reader.charset.split(a.truth), reader.charset.split(a.reading)) for a in answers
    )
    symbols = plots.most_confused(confusions, reader.charset.symbols)
    confidences, is_right = [a.confidence for a in answers], [a.reading == a.truth for a in answers]
    directory.write_bytes("curves.png", plots.curves(epochs))
    directory.write_bytes("confusion.png", plots.confusion(confusions, symbols))
    directory.write_bytes("reliability.png", plots.reliability(confidences, is_right))
    text = page.render(
        "report.html.jinja",
        **_origin(directory, reader),
        data=data,
        curves=_curves(epochs),
        num_misread=len(evaluation.misreads),
        num_answers=len(answers),
        listed=misreads,
        misread=misread,
        right=right,
        confusions=_most_frequent(confusions),
        confusion_matrix=_matrix(confusions, symbols),
        reliability=_reliability(confidences, is_right),
        calibration_error=evaluation.calibration_error,
        coverages=[(accuracy, evaluation.coverage(accuracy)) for accuracy in metrics.ACCURACIES],
        places=_places(answers),
        record=_record(directory),
    )
    directory.write_text("report.html", text)
    return directory.workdir / "report.html"


def _origin(directory: RunDir, reader: Recognizer) -> dict[str, Any]:
    """Says what the page is about: the values of its first lines."""
    result = reader.result
    data_name = result.data_name if result else Path(reader.config.data.dir).name
    return {
        "name": directory.workdir.resolve().name,
        "summary": str(result) if result else f"not finished; weights of epoch {reader.epoch}",
        "trained_on": f"{data_name}, fingerprint {reader.fingerprint[:12]}",
        "seed": reader.config.seed,
    }


def _shown(
    reader: Recognizer,
    answers: Sequence[Answer],
    misreads: Misreads,
    data: str | os.PathLike[str] | None,
    frame: Frame | None,
) -> tuple[list[Shown], list[Shown]]:
    """Returns the first misread images, and some of those that were read correctly."""
    wrong = misreads.answers[:_MISREADS]
    right = [a for a in answers if a.reading == a.truth]
    chosen = wrong + right[:: max(1, -(-len(right) // _EXAMPLES))]
    section = reader.config.data
    if frame is not None:
        section = dataclasses.replace(section, frame=frame)
    images = [sources.image(section, data, a.file) for a in chosen]
    explanations = reader.explain(images)
    for image in images:
        image.thumbnail(_SIZE)  # they are part of the page
    pairs = itertools.chain(misreads.pairs[:_MISREADS], itertools.repeat(""))
    shown = list(map(Shown, chosen, pairs, explanations, images))
    return shown[: len(wrong)], shown[len(wrong) :]


def _misreads(answers: Sequence[Answer], split: Callable[[str], list[str]]) -> Misreads:
    answers = sorted(answers, key=lambda a: -a.confidence)[:_MAX_LISTED]
    found: list[set[Pair]] = []
    for answer in answers:
        counts = metrics.confusions([(split(answer.truth), split(answer.reading))])
        found.append({pair for pair in counts if pair[0] != pair[1]})
    images = Counter(pair for pairs in found for pair in pairs)
    ordered = sorted(images, key=lambda pair: (-images[pair], pair))
    number = {pair: n for n, pair in enumerate(ordered)}
    return Misreads(
        answers,
        [" ".join(map(str, sorted(number[pair] for pair in pairs))) for pairs in found],
        [(f"{a or '(nothing)'} read as {b or '(nothing)'}", images[a, b]) for a, b in ordered],
    )


def _curves(epochs: Sequence[record_types.Line]) -> list[Figure]:
    def points(values: Iterable[float | None], factor: float = 1.0) -> list[Point]:
        known = [
            Point(line["epoch"], factor * y, factor * y, factor * y)
            for line, y in zip(epochs, values, strict=True)
            if y is not None
        ]
        return learning_curves.thin(known, _MAX_EPOCHS)

    losses = [Line("validation", points(line["val_loss"] for line in epochs))]
    if training := points(line.get("loss") for line in epochs):
        losses.append(Line("training", training))
    exact = Line("exact match", points((line["exact_match"] for line in epochs), 100))
    x = axes.epoch_axis(line["epoch"] for line in epochs)
    heights = [point.y for line in losses for point in line.points]
    y = axes.loss_axis("CTC loss, nats per image", heights)
    share = axes.percent_axis("exact match on the validation part, %")
    names = [line.name for line in losses]
    return [
        Figure(charts.lines(losses, x, y, "Loss by epoch"), "Loss by epoch.", names),
        Figure(charts.lines([exact], x, share, "Exact match by epoch"), "Exact match by epoch."),
    ]


def _reliability(confidences: Sequence[float], right: Sequence[bool]) -> Figure:
    spots = []
    for found in metrics.bins_of(confidences, right, _BINS):
        radius = 3 + 7 * (found.readings / len(right)) ** 0.5
        spots.append(Spot(100 * found.confidence, 100 * found.right, radius, str(found.readings)))
    x, y = Axis("mean confidence of a bin, %", 0, 100), Axis("right, %", 0, 100)
    svg = charts.scatter(spots, x, y, "Reliability diagram: accuracy by confidence")
    return Figure(
        svg, "Accuracy by confidence, in bins of equal width, with the number of images in each."
    )


def _matrix(confusions: Mapping[Pair, int], symbols: Sequence[str]) -> Markup:
    number = {symbol: n for n, symbol in enumerate([*symbols, ""])}
    counts = {
        (number[a], number[b]): count
        for (a, b), count in confusions.items()
        if a in number and b in number
    }
    return charts.matrix([*symbols, "none"], counts, "Confusion matrix by character")


def _most_frequent(confusions: Mapping[Pair, int]) -> Table:
    wrong = sorted(
        ((count, pair) for pair, count in confusions.items() if pair[0] != pair[1]), reverse=True
    )
    rows = [
        (a or "(nothing)", b or "(nothing)", count) for count, (a, b) in wrong[:_MAX_CONFUSIONS]
    ]
    caption = f"The {len(rows)} most frequent of {len(wrong)} confusions"
    return Table(caption, ("truth", "read as", "times"), rows)


def _places(answers: Sequence[Answer]) -> Table:
    """Counts of right readings by position, and by kind of text."""
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
    shares = [Cell(f"{hits / n:.2%}", hits / n) if n else Cell("-") for _, hits, n in rows]
    return Table(
        "Right readings",
        ("part", "right", "of", "share"),
        [(*row, share) for row, share in zip(rows, shares, strict=True)],
    )


def _record(directory: RunDir) -> dict[str, dict[str, Any]]:
    result = directory.result()
    return {
        "Result": dataclasses.asdict(result) if result else {},
        "Configuration": config_lib.flatten(config_lib.to_dict(directory.config())),
        "Environment": config_lib.flatten(directory.environment()),
    }
