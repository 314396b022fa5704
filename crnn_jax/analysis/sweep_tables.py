"""Tables of the page of a sweep: variants, schemes, and runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_jax.analysis import cells, scheme_report, sweep_report
from crnn_jax.analysis.learning_curves import Epoch
from crnn_jax.analysis.page import Cell, Table
from crnn_jax.runs.result import Result

EXACT = "exact match, %"


class Trained(NamedTuple):
    """A finished run of a sweep."""

    variant: str
    path: Path  # relative to the directory of the sweep
    result: Result
    epochs: Sequence[Epoch]


def variants(rows: Sequence[sweep_report.Row], reach: float) -> Table:
    """The rows of `report.csv`; `reach` is a fraction."""
    header = (
        "variant", "runs", EXACT, "95 % interval", "mean over seeds, %", "std over seeds, %",
        "CER, %", "validation loss, nats", "left plateau: median epoch", "latest",
        f"to {100 * reach:g}%: median epoch", "latest", "seconds",
        "difference to base, points", "95 % interval", "McNemar p",
    )  # fmt: skip
    return Table(f"{len(rows)} variants, {sweep_report.BASE} first", header, [
        (
            row.variant, row.runs, _percent(row.exact_match),
            _range(row.exact_match_low, row.exact_match_high),
            _percent(row.mean), _percent(row.spread), _percent(row.cer, ".3f"),
            _number(row.val_loss, ".3f"),
            _number(row.left_plateau, "g"), _latest(row.left_plateau_last, row.never_left),
            _number(row.epoch_reached, "g"), _latest(row.epoch_reached_last, row.never_reached),
            _number(row.seconds_reached, ".0f"),
            _percent(row.difference, "+.2f"), _range(row.difference_low, row.difference_high, "+"),
            Cell(sweep_report.p_value(row.p_value), row.p_value),
        )
        for row in rows
    ])  # fmt: skip


def schemes(rows: Sequence[scheme_report.Row], ways: Sequence[str]) -> Table:
    """A row for each scheme and number of labels, with columns for each way to compare."""
    groups: dict[tuple[str, str], dict[str, scheme_report.Row]] = {}
    for row in rows:
        groups.setdefault((row.scheme, row.labels), {})[row.way] = row
    header = ["scheme", "labels", "runs", "test images"]
    for way in ways:
        header += [f"{scheme_report.TITLES[way]}, %", "95 % interval"]
    body = []
    for (scheme, labels), own in groups.items():
        first = next(iter(own.values()))
        value = float(labels) if labels.isdecimal() else float("inf")
        line: list[Cell | str | int] = [
            scheme, Cell(labels, value), first.runs, first.num_examples // first.runs
        ]  # fmt: skip
        for way in ways:
            score = own.get(way)
            line.append(_percent(score.exact_match if score else None))
            line.append(
                _range(score.exact_match_low, score.exact_match_high) if score else Cell("-")
            )
        body.append(line)
    return Table(f"{len(body)} schemes and numbers of labels", header, body)


def runs(workdir: Path, trained: Sequence[Trained]) -> Table:
    """Scores of each run, with links to its files."""
    header = ("run", EXACT, "CER, %", "validation loss, nats", "best epoch", "epochs",
              "seconds", "files")  # fmt: skip
    return Table(f"{len(trained)} finished runs", header, [
        (
            str(run.path), _percent(run.result.exact_match), _percent(run.result.cer),
            _number(run.result.val_loss, ".4f"), run.result.best_epoch, run.result.epochs_run,
            _number(run.result.seconds, ".0f"), Cell(links=cells.links(workdir, run.path)),
        )
        for run in trained
    ])  # fmt: skip


def _number(value: float | None, form: str) -> Cell:
    return Cell("-") if value is None else Cell(format(value, form), value)


def _percent(share: float | None, form: str = ".2f") -> Cell:
    return _number(None if share is None else 100 * share, form)


def _range(low: float | None, high: float | None, sign: str = "") -> Cell:
    """An interval of shares, in percent; it sorts by its lower end."""
    if low is None or high is None:
        return Cell("-")
    return Cell(f"{100 * low:{sign}.2f} to {100 * high:{sign}.2f}", 100 * low)


def _latest(epoch: int | None, never: int) -> Cell:
    """The latest epoch. If some runs never got there, it sorts after all epochs."""
    if never:
        return Cell(f"{'' if epoch is None else f'{epoch}, '}{never} never", float(10**9 + never))
    return _number(epoch, "d")
