"""The page of a sweep, `report.html`: tables, intervals, learning curves, runs. Imports no jax."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_jax.analysis import (
    axes,
    cells,
    charts,
    learning_curves,
    page,
    scheme_report,
    sweep_report,
    sweep_runs,
    sweep_tables,
)
from crnn_jax.analysis.axes import Axis
from crnn_jax.analysis.charts import Interval, Line, Point
from crnn_jax.analysis.learning_curves import Epoch
from crnn_jax.analysis.page import Cell, Figure, Table
from crnn_jax.analysis.sweep_tables import EXACT, Trained
from crnn_jax.runs.run_dir import RunDir

_SHOWN = 6  # lines that are visible at first
_MAX_ROWS = 200  # rows of a forest plot, and lines of a chart
_MAX_POINTS, _ALL_POINTS = 60, 6000  # points of a line, and of all lines of a chart


class Curves(NamedTuple):
    """Charts that share their lines, with the names for the legend."""

    title: str
    note: str
    figures: list[Figure]
    names: list[str]


def of_variants(
    workdir: str | os.PathLike[str],
    runs: Sequence[sweep_runs.Run],
    rows: Sequence[sweep_report.Row],
    reach: float = 0.95,
) -> str:
    """Returns the page of a sweep of variants.

    Args:
      workdir: the directory of the sweep.
      runs: the result of `sweep_runs.read_grid`.
      rows: the result of `sweep_report.table`.
      reach: the exact match, as a fraction, for which the table has the first epoch.
    """
    workdir = Path(workdir)
    result = runs[0].result
    commits = ", ".join(sorted({(run.commit or "unknown")[:12] for run in runs}))
    trained = [Trained(r.variant, Path(r.variant) / r.cell, r.result, r.epochs) for r in runs]
    by_size = [_sizes(rows)] if sweep_report.has_sizes(runs) else []
    return _render(
        workdir,
        trained,
        summary=[
            f"{result.data_name}, fingerprint {result.fingerprint[:12]}, {runs[0].num_images} "
            f"images. {len(runs)} finished runs of {len(rows)} variants; commit {commits}."
        ],
        tables=[sweep_tables.variants(rows, reach)],
        notes=[
            "Exact match is on the validation part of each run, pooled over the runs of a variant; "
            "its interval is Wilson's. The "
            f"difference to {sweep_report.BASE}, over the seeds and folds that both have, has a "
            "bootstrap interval over images, and the p-value is McNemar's.",
            *sweep_report.notes(runs),
        ],
        forests=_forests(rows),
        by_size=by_size,
        order=[row.variant for row in rows],
    )


def of_schemes(workdir: str | os.PathLike[str], rows: Sequence[scheme_report.Row]) -> str:
    """Returns the page of a sweep over captcha schemes.

    Args:
      workdir: the directory of the sweep.
      rows: the result of `scheme_report.read`.

    Raises:
      RunError: a `result.json` or `metrics.jsonl` cannot be read.
    """
    workdir = Path(workdir)
    trained = []
    for path in scheme_report.run_directories(workdir):
        record = RunDir(path)
        result = record.result()
        assert result is not None
        inner = path.relative_to(workdir)
        epochs = learning_curves.of_lines(record.epochs()) if record.metrics.exists() else ()
        trained.append(Trained("/".join(inner.parts[:2]), inner, result, epochs))
    ways = [way for way in scheme_report.TITLES if any(row.way == way for row in rows)]
    labels = {row.labels for row in rows}
    return _render(
        workdir,
        trained,
        summary=[
            f"{len(trained)} finished runs on {len({row.scheme for row in rows})} schemes. Each "
            "number is the exact match on a test part that no run used otherwise."
        ],
        tables=[sweep_tables.schemes(rows, ways)],
        notes=["Runs are pooled; the intervals are Wilson's 95 % intervals of the pooled count."],
        forests=[_scheme_forest(rows, way) for way in ways],
        by_size=[_by_labels(rows)] if len(labels) > 1 else [],
        order=list(dict.fromkeys(f"{row.scheme}/{row.labels}" for row in rows)),
    )


def _render(
    workdir: Path,
    trained: Sequence[Trained],
    order: Sequence[str],
    **values: object,
) -> str:
    unfinished = cells.unfinished(workdir)
    return page.render(
        "sweep.html.jinja",
        name=workdir.resolve().name,
        curves=_curves(trained, order),
        runs=sweep_tables.runs(workdir, trained),
        unfinished=Table(
            f"{len(unfinished)} runs without a result, which the other parts of the page leave out",
            ("run", "state", "files"),
            [(str(run.path), run.state, Cell(links=run.links)) for run in unfinished],
        ),
        shown=_SHOWN,
        **values,
    )


def _forests(rows: Sequence[sweep_report.Row]) -> list[Figure]:
    base = next((row for row in rows if row.variant == sweep_report.BASE), None)
    drawn = rows[:_MAX_ROWS]
    some = "" if len(drawn) == len(rows) else f" The first {len(drawn)} of {len(rows)} variants."
    found = [
        Figure(
            charts.forest(
                [_exact(row.variant, row) for row in drawn],
                EXACT,
                "Forest plot: exact match of each variant with its 95 % interval",
                100 * base.exact_match if base else None,
            ),
            "Exact match, pooled over runs, with its 95 % Wilson interval."
            + (f" Dashed: {sweep_report.BASE}." if base else "")
            + some,
        )
    ]
    compared = []
    for row in drawn:
        if row.difference is None or row.difference_low is None or row.difference_high is None:
            continue
        shares = (row.difference, row.difference_low, row.difference_high)
        value, low, high = (100 * share for share in shares)
        text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
        compared.append(Interval(row.variant, value, low, high, text))
    if compared:
        svg = charts.forest(
            compared,
            f"difference to {sweep_report.BASE}, percentage points",
            f"Forest plot: difference of each variant to {sweep_report.BASE} with its interval",
            0.0,
        )
        caption = (
            f"Exact match minus that of {sweep_report.BASE}, with its 95 % bootstrap interval."
        )
        found.append(Figure(svg, caption + some))
    return found


def _scheme_forest(rows: Sequence[scheme_report.Row], way: str) -> Figure:
    own = [row for row in rows if row.way == way]
    drawn = own[:_MAX_ROWS]
    title = scheme_report.TITLES[way]
    svg = charts.forest(
        [_exact(f"{row.scheme}, {row.labels} labels", row) for row in drawn],
        "test images read correctly, %",
        f"Forest plot: {title}, with 95 % intervals",
        None,
    )
    some = "" if len(drawn) == len(own) else f" The first {len(drawn)} of {len(own)} rows."
    return Figure(svg, f"{title}, with its 95 % Wilson interval.{some}")


def _exact(name: str, row: sweep_report.Row | scheme_report.Row) -> Interval:
    shares = (row.exact_match, row.exact_match_low, row.exact_match_high)
    value, low, high = (100 * share for share in shares)
    return Interval(name, value, low, high, f"{value:.1f} [{low:.1f}, {high:.1f}]")


def _sizes(rows: Sequence[sweep_report.Row]) -> Curves:
    ordered = sorted(rows, key=lambda row: row.num_train)
    line = Line(
        "exact match",
        [
            Point(n, 100 * row.exact_match, 100 * row.exact_match_low, 100 * row.exact_match_high)
            for n, row in enumerate(ordered)
        ],
    )
    x = Axis("training images", 0, len(ordered) - 1, names=[str(r.num_train) for r in ordered])
    y = axes.percent_axis(EXACT)
    svg = charts.lines([line], x, y, "Exact match by number of training images")
    figure = Figure(svg, "Exact match, pooled over runs, with its 95 % Wilson interval.")
    return Curves("Training images", "", [figure], [])


def _by_labels(rows: Sequence[scheme_report.Row]) -> Curves:
    figures, names = [], []
    for way in scheme_report.WAYS:
        labels, by_name = scheme_report.curves(rows, way)
        by_name = {"mean": by_name.pop("mean"), **by_name}
        names = list(by_name)[:_MAX_ROWS]
        drawn = []
        for name in names:
            known = [
                (n, 100 * by_name[name][x]) for n, x in enumerate(labels) if x in by_name[name]
            ]
            drawn.append(Line(name, [Point(n, y, y, y) for n, y in known]))
        x = Axis("labeled images", 0, max(len(labels) - 1, 1), names=labels)
        y = axes.percent_axis("test images read correctly, %")
        title = scheme_report.TITLES[way]
        figures.append(
            Figure(charts.lines(drawn, x, y, f"{title}, by labels", _SHOWN), f"{title}.")
        )
    return Curves("Number of labels", "", figures, names)


def _curves(trained: Sequence[Trained], order: Sequence[str]) -> Curves | None:
    groups: dict[str, list[Sequence[Epoch]]] = {}
    for run in trained:
        if run.epochs:
            groups.setdefault(run.variant, []).append(run.epochs)
    names = [name for name in order if name in groups]
    if not names:
        return None
    drawn = names[:_MAX_ROWS]
    most = max(8, min(_MAX_POINTS, _ALL_POINTS // len(drawn)))
    losses, matches = (
        [
            Line(name, learning_curves.over_runs(groups[name], key, most, factor))
            for name in drawn
        ]
        for key, factor in (("val_loss", 1.0), ("exact_match", 100.0))
    )  # fmt: skip
    x = axes.epoch_axis(point.x for line in losses for point in line.points)
    y = axes.loss_axis("validation loss, nats per image", _ends(losses))
    label = "Learning curves: validation loss by epoch"
    figures = [
        Figure(charts.lines(losses, x, y, label, _SHOWN), "Validation loss."),
        Figure(
            charts.lines(
                matches,
                x,
                axes.percent_axis("exact match on the validation part, %"),
                "Learning curves: exact match by epoch",
                _SHOWN,
            ),
            "Exact match.",
        ),
    ]
    note = "The median over the runs that reached an epoch; shaded: from the lowest to the highest."
    if any(len(epochs) > most for runs in groups.values() for epochs in runs):
        note += f" A line has at most {most} points."
    if len(drawn) < len(names):
        note += f" The first {len(drawn)} of {len(names)} variants."
    return Curves("Learning curves", note, figures, drawn)


def _ends(series: Iterable[Line]) -> list[float]:
    return [value for line in series for point in line.points for value in (point.low, point.high)]
