"""One run as a self-contained page, `report.html`: curves, misreads, confusions, confidence."""

from __future__ import annotations

import base64
import dataclasses
import html
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.analysis import plots
from crnn_jax.data import sources
from crnn_jax.inference import metrics, recognizer
from crnn_jax.inference.evaluate import Evaluation
from crnn_jax.inference.explain import Explanation
from crnn_jax.runs.run_dir import Answer, RunDir, png

_MISREADS, _EXAMPLES = 60, 12  # pictures shown
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.pictures { display: flex; flex-wrap: wrap; gap: 1.2rem }
figure { margin: 0; width: 18rem } figure img { width: 100%; display: block }
.spans { position: relative; height: 2.4rem }
.spans span { position: absolute; top: 0; border-top: 3px solid #1f77b4; font-family: monospace;
  display: flex; flex-direction: column; align-items: center }
.spans .doubt { border-color: #d62728; color: #d62728 }
.spans small { font-size: .7rem; color: #666 }
figcaption { font-family: monospace } .plot { max-width: 100% }
"""


class Shown(NamedTuple):
    """A picture of the validation part beside what was made of it."""

    answer: Answer
    explanation: Explanation
    picture: Image.Image


def write(run: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Path:
    """Reads pictures with a run's best weights and leaves `report.html` and its PNGs there.

    Args:
      run: a run directory.
      data: a labelled folder, all of which is read; None is the run's validation part.

    Raises:
      RunError, DataError: there is no trained reader, or the data are gone or have changed.
    """
    directory = RunDir(run)
    reader = recognizer.load(run)
    evaluation = reader.evaluate(data).evaluation
    answers = evaluation.answers
    misread = sorted(evaluation.misreads, key=lambda a: -a.confidence)
    right = [a for a in answers if a.reading == a.truth]
    split = min(len(misread), _MISREADS)
    chosen = misread[:split] + right[:: max(1, -(-len(right) // _EXAMPLES))]
    pictures = [sources.picture(reader.config.data, data, a.file) for a in chosen]
    explanations = reader.explain(pictures)
    shown = list(map(Shown, chosen, explanations, pictures))

    confusions = metrics.confusions([(a.truth, a.reading) for a in answers])
    charts = {
        "curves.png": plots.curves(directory.epochs()),
        "confusion.png": plots.confusion(confusions, reader.charset.alphabet),
        "reliability.png": plots.reliability(
            [a.confidence for a in answers], [a.reading == a.truth for a in answers]
        ),
    }
    for name, content in charts.items():
        directory.write_bytes(name, content)
    directory.write_text(
        "report.html",
        "\n".join(
            [
                _head(directory, reader, data),
                _image(charts["curves.png"], "loss and exact match by epoch"),
                f"<h2>Misread: {len(misread)} of {len(answers)}</h2>",
                _note(len(misread), split),
                _gallery(shown[:split]),
                "<h2>What is taken for what</h2>",
                _confusions(confusions),
                _image(charts["confusion.png"], "confusion matrix by character"),
                "<h2>Confidence</h2>",
                _image(charts["reliability.png"], "reliability diagram"),
                _confidence(evaluation),
                "<h2>Where it errs</h2>",
                _places(answers),
                "<h2>Read right</h2>",
                _gallery(shown[split:]),
                _record(directory),
            ]
        ),
    )
    return directory.workdir / "report.html"


# --------------------------------------------------------------------------- its parts


def _head(
    directory: RunDir, reader: recognizer.Recognizer, data: str | os.PathLike[str] | None
) -> str:
    result = directory.result()
    name = html.escape(directory.workdir.resolve().name)
    data_name = result.data_name if result else Path(reader.config.data.dir).name
    trained = f"{data_name}, fingerprint {reader.fingerprint[:12]}"
    of = "of the validation part, which no training step saw" if data is None else f"of {data}"
    summary = f"{result}" if result else f"not finished; weights of epoch {reader.epoch}"
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style><h1>{name}</h1><p>{html.escape(summary)}</p>"
        f"<p>Trained on {html.escape(trained)}; seed {reader.config.seed}. What follows is "
        f"{html.escape(of)}.</p>"
    )


def _note(misread: int, shown: int) -> str:
    most = f"the {shown} of most confidence, " if shown < misread else ""
    return (
        f"<p>Below each picture: {most}where the best alignment puts each character, and how "
        "probable it is, the others given; red below 90 %.</p>"
        if misread
        else "<p>None.</p>"
    )


def _gallery(shown: Iterable[Shown]) -> str:
    figures = []
    for answer, explanation, picture in shown:
        spans = "".join(
            f'<span class="{"doubt" if c.probability < 0.9 else ""}" style="left:{c.left:.1%};'
            f'width:{c.right - c.left:.1%}">{html.escape(c.symbol)}'
            f"<small>{c.probability:.0%}</small></span>"
            for c in explanation.characters
        )
        caption = answer.truth
        if answer.reading != answer.truth:
            caption += f" read as {answer.reading or 'nothing'}"
        caption += f", confidence {answer.confidence:.1%}"
        figures.append(
            f'<figure><img alt="{html.escape(answer.file)}" src="{_url(png(picture))}">'
            f'<div class="spans">{spans}</div>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def _confusions(confusions: dict[tuple[str, str], int]) -> str:
    wrong = sorted(
        ((count, pair) for pair, count in confusions.items() if pair[0] != pair[1]), reverse=True
    )
    if not wrong:
        return "<p>Nothing.</p>"
    rows = [(a or "(nothing)", b or "(nothing)", count) for count, (a, b) in wrong[:20]]
    return _table(("truth", "read as", "times"), rows)


def _confidence(evaluation: Evaluation) -> str:
    lines = [f"Expected calibration error {evaluation.calibration_error:.2%}."]
    lines += [
        f"For {accuracy:.1%} right: {evaluation.coverage(accuracy)}."
        for accuracy in metrics.ACCURACIES
    ]
    return "".join(f"<p>{line}</p>" for line in lines)


def _places(answers: Sequence[Answer]) -> str:
    """Exact match by the position of a character and by kinds of text."""
    rows = []
    for position in range(max(len(a.truth) for a in answers)):
        there = [a for a in answers if len(a.truth) > position]
        hits = sum(a.reading[position : position + 1] == a.truth[position] for a in there)
        rows.append((f"character {position + 1}", hits, len(there)))
    repeats: dict[bool, list[Answer]] = {True: [], False: []}
    for a in answers:
        repeats[any(x == y for x, y in itertools.pairwise(a.truth))].append(a)
    kinds = [("texts with a repeated neighbour", repeats[True]), ("texts without", repeats[False])]
    lengths = sorted({len(a.truth) for a in answers})
    if len(lengths) > 1:
        kinds += [
            (f"texts of {length} characters", [a for a in answers if len(a.truth) == length])
            for length in lengths
        ]
    rows += [(name, sum(a.reading == a.truth for a in some), len(some)) for name, some in kinds]
    return _table(
        ("", "right", "of", "share"),
        [(name, hits, n, f"{hits / n:.2%}" if n else "-") for name, hits, n in rows],
    )


def _record(directory: RunDir) -> str:
    config = config_lib.flatten(config_lib.to_dict(directory.config()))
    environment = config_lib.flatten(directory.environment())
    result = directory.result()
    parts = {
        "Result": dataclasses.asdict(result) if result else {},
        "Configuration": config,
        "Environment": environment,
    }
    return "<h2>Record</h2>" + "".join(
        f"<details><summary>{name}</summary>{_table(('', ''), values.items())}</details>"
        for name, values in parts.items()
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(tag: str, value: Any) -> str:
        number = ' class="n"' if isinstance(value, (int, float)) else ""
        return f"<{tag}{number}>{html.escape(str(value))}</{tag}>"

    lines = ["".join(cell("th", name) for name in header)] if any(header) else []
    lines += ["".join(cell("td", value) for value in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _image(content: bytes, what: str) -> str:
    return f'<img class="plot" alt="{what}" src="{_url(content)}">'


def _url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
