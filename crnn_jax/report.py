"""Tables and a picture of a grid of runs, from their records alone; imports no jax.

A record's `errors.csv` names the misread files of its validation part; all others were read
right. That is all a paired comparison needs: the same seed and fold mean the same pictures.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from crnn_jax import metrics
from crnn_jax.errors import RunError
from crnn_jax.record import Record, Result
from crnn_jax.stopping import OFF_PLATEAU

BASE = "base"  # the variant that the others are compared with


@dataclasses.dataclass(frozen=True)
class Run:
    """What the table needs of a finished run."""

    variant: str
    cell: str  # names seed and fold
    result: Result
    train_size: int  # as the config has it: 0 for all
    commit: str | None
    misread: frozenset[str]
    left_plateau: int | None  # epoch
    epoch_95: int | None  # the first to read 95 % of the validation part
    seconds_95: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant over its runs. Rates are fractions; None where no run got there."""

    variant: str
    runs: int
    num_train: int  # images, of the first run
    exact_match: float  # pooled over runs
    exact_match_low: float  # Wilson, of the pooled count
    exact_match_high: float
    mean: float  # of the seeds' pooled rates
    spread: float  # their standard deviation; 0 for one seed
    cer: float
    left_plateau: float | None  # median epoch
    left_plateau_last: int | None  # the latest of those that left
    never_left: int  # runs that stayed on the plateau
    epoch_95: float | None  # medians
    seconds_95: float | None
    difference: float | None  # exact match less the base's, over the runs that both have
    difference_low: float | None  # 95 % bootstrap interval over pictures
    difference_high: float | None
    p_value: float | None  # McNemar, exact, two-sided; takes a picture's seeds for independent


def read_grid(workdir: str | os.PathLike[str]) -> list[Run]:
    """The finished runs below a grid's directory, `VARIANT/CELL/result.json`.

    Raises:
      RunError: there are none, or they are not all of the same data.
    """
    runs = []
    for path in sorted(Path(workdir).glob("*/*/result.json")):
        runs.append(_read_run(path.parent))
    if not runs:
        raise RunError(f"{workdir} holds no finished runs (VARIANT/CELL/result.json)")
    if len({run.result.fingerprint for run in runs}) > 1:
        raise RunError(f"the runs of {workdir} are of different data; they have no common table")
    return runs


def table(runs: Sequence[Run]) -> list[Row]:
    """A row a variant, the base first, then from best to worst."""
    variants = dict.fromkeys(run.variant for run in runs)
    base = {run.cell: run for run in runs if run.variant == BASE}
    rows = [_row(name, [run for run in runs if run.variant == name], base) for name in variants]
    return sorted(rows, key=lambda row: (row.variant != BASE, -row.exact_match, row.variant))


def to_markdown(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    result = runs[0].result
    commits = sorted({run.commit or "unknown" for run in runs})
    lines = [
        f"{result.data_name}, fingerprint {result.fingerprint[:12]}, "
        f"{result.num_train + result.num_val} images; {len(runs)} runs; "
        f"commit {', '.join(commit[:12] for commit in commits)}",
        "",
        "| variant | runs | exact match, 95 % interval | seeds' mean ± deviation | CER "
        "| left plateau: median, latest epoch | epochs, seconds to 95 % "
        "| difference to base, 95 % interval | McNemar p |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plateau = f"{_number(row.left_plateau, '.0f')}, {_number(row.left_plateau_last, '.0f')}"
        if row.never_left:
            plateau += f" ({row.never_left} never)"
        lines.append(
            f"| {row.variant} | {row.runs} "
            f"| {row.exact_match:.2%} [{row.exact_match_low:.2%}, {row.exact_match_high:.2%}] "
            f"| {row.mean:.2%} ± {row.spread:.2%} | {row.cer:.3%} | {plateau} "
            f"| {_number(row.epoch_95, '.0f')}, {_number(row.seconds_95, '.0f')} "
            f"| {_number(row.difference, '+.2%')} [{_number(row.difference_low, '+.2%')}, "
            f"{_number(row.difference_high, '+.2%')}] | {_number(row.p_value, '.3f')} |"
        )
    return "\n".join(lines) + "\n"


def to_csv(rows: Iterable[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, [field.name for field in dataclasses.fields(Row)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return buffer.getvalue()


def draw(rows: Sequence[Row], path: Path) -> None:
    """Exact match of every variant with its interval, as a PNG. RunError without matplotlib."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 1 + 0.35 * len(rows)), layout="constrained")
    for y, row in enumerate(reversed(rows)):
        values = [100 * v for v in (row.exact_match_low, row.exact_match, row.exact_match_high)]
        axes.plot([values[0], values[2]], [y, y], color="0.6", linewidth=2)
        axes.plot(values[1], y, "o", color="tab:blue" if row.variant == BASE else "black")
        axes.annotate(f"{values[1]:.1f}", (values[1], y), (0, 5), textcoords="offset points",
                      ha="center", fontsize=7)  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{row.variant} ({row.runs})" for row in reversed(rows)])
    axes.set_xlabel("exact match, %, pooled over runs, with 95 % Wilson interval")
    axes.margins(y=0.08)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def has_sizes(runs: Sequence[Run]) -> bool:
    """Whether the grid is one of training sets of several sizes."""
    return len({run.train_size for run in runs}) > 2


def draw_sizes(rows: Sequence[Row], path: Path) -> None:
    """Exact match against the size of the training set, as a PNG."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    rows = sorted(rows, key=lambda row: row.num_train)
    sizes, rates = [row.num_train for row in rows], [100 * row.exact_match for row in rows]
    # At 0 and 1 rounding can put an end of the interval on the wrong side by a hair.
    below = [max(0, 100 * (row.exact_match - row.exact_match_low)) for row in rows]
    above = [max(0, 100 * (row.exact_match_high - row.exact_match)) for row in rows]
    axes.errorbar(sizes, rates, (below, above), fmt="o-", capsize=3, color="tab:blue")
    for size, rate in zip(sizes, rates, strict=True):
        axes.annotate(f"{rate:.1f}", (size, rate), (7, -10), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("exact match, %, pooled over runs, with 95 % Wilson interval")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise RunError("the picture needs matplotlib: pip install 'crnn-jax[plots]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _read_run(path: Path) -> Run:
    record = Record(path)
    result = record.result()
    assert result is not None
    misread = frozenset(row["file"] for row in record.read_csv("errors.csv", ["file"]))
    if len(misread) != result.num_examples - result.num_exact:
        raise RunError(f"{path}: errors.csv and result.json do not agree")
    environment, lines = record.environment(), record.metrics_lines()
    limit = OFF_PLATEAU * environment["data"]["plateau_loss"]
    epochs = [line for line in lines if "val_loss" in line]
    read_95: dict[str, Any] = next((e for e in epochs if e["exact_match"] >= 0.95), {})
    return Run(
        variant=path.parent.name,
        cell=path.name,
        result=result,
        train_size=record.config_value("data.train_size"),
        commit=environment["commit"],
        misread=misread,
        left_plateau=next((e["epoch"] for e in epochs if e["val_loss"] < limit), None),
        epoch_95=read_95.get("epoch"),
        seconds_95=read_95.get("seconds"),
    )


def _row(variant: str, runs: Sequence[Run], base: dict[str, Run]) -> Row:
    exact = sum(run.result.num_exact for run in runs)
    examples = sum(run.result.num_examples for run in runs)
    low, high = metrics.wilson_interval(exact, examples)
    seeds: dict[int, list[Result]] = {}
    for run in runs:
        seeds.setdefault(run.result.seed, []).append(run.result)
    rates = [
        sum(r.num_exact for r in results) / sum(r.num_examples for r in results)
        for results in seeds.values()
    ]
    pairs = [(run, base[run.cell]) for run in runs if run.cell in base and variant != BASE]
    gained = sum(len(theirs.misread - ours.misread) for ours, theirs in pairs)
    lost = sum(len(ours.misread - theirs.misread) for ours, theirs in pairs)
    paired = sum(ours.result.num_examples for ours, _ in pairs)
    interval = _interval(pairs) if pairs else (None, None)
    chars = sum(run.result.num_chars for run in runs)
    return Row(
        variant=variant,
        runs=len(runs),
        num_train=runs[0].result.num_train,
        exact_match=exact / examples,
        exact_match_low=low,
        exact_match_high=high,
        mean=statistics.mean(rates),
        spread=statistics.stdev(rates) if len(rates) > 1 else 0.0,
        cer=sum(run.result.cer * run.result.num_chars for run in runs) / chars,
        left_plateau=_median(run.left_plateau for run in runs),
        left_plateau_last=max((run.left_plateau for run in runs if run.left_plateau), default=None),
        never_left=sum(run.left_plateau is None for run in runs),
        epoch_95=_median(run.epoch_95 for run in runs),
        seconds_95=_median(run.seconds_95 for run in runs),
        difference=(gained - lost) / paired if pairs else None,
        difference_low=interval[0],
        difference_high=interval[1],
        p_value=metrics.mcnemar(gained, lost) if pairs else None,
    )


def _interval(pairs: Sequence[tuple[Run, Run]]) -> tuple[float, float]:
    """Bootstrap interval of the difference of exact match, over pictures.

    A picture that several seeds read is one draw, since its readings are not independent.
    """
    net: dict[str, int] = {}  # picture: seeds that read it right here, less those at the base
    for ours, theirs in pairs:
        for file in theirs.misread ^ ours.misread:
            net[file] = net.get(file, 0) + (1 if file in theirs.misread else -1)
    readings = sum(ours.result.num_examples for ours, _ in pairs)
    pictures = readings // len({ours.result.seed for ours, _ in pairs})
    low, high = metrics.bootstrap_mean(list(net.values()), pictures - len(net))
    return low * pictures / readings, high * pictures / readings


def _median(values: Iterable[float | None]) -> float | None:
    """The median of the runs that got there."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
