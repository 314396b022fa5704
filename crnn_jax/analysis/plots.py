"""Plots for the reports of a sweep and of one run. Each function returns a PNG."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from crnn_jax.analysis.axes import MIN_LOSS, shorten
from crnn_jax.analysis.sweep_report import BASE, Row
from crnn_jax.errors import RunError
from crnn_jax.inference import metrics

# matplotlib cannot draw images with more than 2**16 pixels on a side.
_MAX_ROWS, _MAX_SYMBOLS, _MAX_NAME = 200, 60, 40


def variants(rows: Sequence[Row]) -> bytes:
    """Exact match of the first 200 variants, with intervals.

    Raises:
      RunError: matplotlib is not installed.
    """
    plt, number = _pyplot(), len(rows)
    rows = rows[:_MAX_ROWS]
    figure, axes = plt.subplots(figsize=(7, 1 + 0.35 * len(rows)), layout="constrained")
    for y, row in enumerate(reversed(rows)):
        values = [100 * v for v in (row.exact_match_low, row.exact_match, row.exact_match_high)]
        axes.plot([values[0], values[2]], [y, y], color="0.6", linewidth=2)
        axes.plot(values[1], y, "o", color="tab:blue" if row.variant == BASE else "black")
        axes.annotate(f"{values[1]:.1f}", (values[1], y), (0, 5), textcoords="offset points",
                      ha="center", fontsize=7)  # fmt: skip
    names = [f"{_name(row.variant)} ({row.runs})" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    shown = f"; {len(rows)} of {number} variants" if number > len(rows) else ""
    axes.set_xlabel(f"exact match, %, pooled over runs, with 95 % Wilson interval{shown}")
    axes.margins(y=0.08)
    axes.grid(axis="x", alpha=0.3)
    return _png(figure, 150)


def sizes(rows: Sequence[Row]) -> bytes:
    """Exact match against the size of the training set."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    rows = sorted(rows, key=lambda row: row.num_train)
    counts, rates = [max(row.num_train, 1) for row in rows], [100 * row.exact_match for row in rows]
    # Near 0 and 1, rounding can put a bound on the wrong side of the rate.
    below = [max(0, 100 * (row.exact_match - row.exact_match_low)) for row in rows]
    above = [max(0, 100 * (row.exact_match_high - row.exact_match)) for row in rows]
    axes.errorbar(counts, rates, (below, above), fmt="o-", capsize=3, color="tab:blue")
    for count, rate in zip(counts, rates, strict=True):
        axes.annotate(f"{rate:.1f}", (count, rate), (7, -10), textcoords="offset points",
                      fontsize=8)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("exact match, %, 95 % Wilson interval")
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    return _png(figure, 150)


def schemes(labels: Sequence[str], lines: Mapping[str, Mapping[str, float]], title: str) -> bytes:
    """Exact match against the number of labels: a line for each scheme, and a thick mean.

    Args:
      labels: the numbers of labels in their order, evenly spaced on the axis.
      lines: by scheme, and for 'mean', the exact match (a fraction) by number of labels.
      title: how texts are compared.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    colors = plt.get_cmap("tab20").colors
    for i, (name, rates) in enumerate(lines.items()):
        x = [labels.index(number) for number in labels if number in rates]
        y = [100 * rates[number] for number in labels if number in rates]
        if name == "mean":
            style = {"color": "black", "linewidth": 3, "zorder": 3}
        else:
            style = {"color": colors[i % len(colors)], "linewidth": 1.2}
        axes.plot(x, y, "o-", markersize=4, label=_name(name), **style)
    axes.set_xticks(range(len(labels)), list(map(_name, labels)), parse_math=False)
    axes.set_xlabel("labeled images")
    axes.set_ylabel("test images read correctly, %")
    axes.set_title(title)
    axes.set_ylim(-2, 102)
    axes.grid(alpha=0.3)
    for text in figure.legend(loc="outside right upper", fontsize=8).get_texts():
        text.set_parse_math(False)
    return _png(figure, 150)


def curves(epochs: Sequence[Mapping[str, Any]]) -> bytes:
    """Losses and exact match by epoch.

    Args:
      epochs: the epoch lines of a `metrics.jsonl`, from `RunDir.epochs`.
    """
    plt = _pyplot()
    x = [line["epoch"] for line in epochs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(x, [max(line.get("loss", math.nan), MIN_LOSS) for line in epochs], label="training")
    left.plot(x, [max(line["val_loss"], MIN_LOSS) for line in epochs], label="validation")
    left.set_yscale("log")
    left.set_ylabel("CTC loss, nats per image")
    left.legend()
    right.plot(x, [100 * line["exact_match"] for line in epochs], color="tab:orange")
    right.set_ylabel("exact match on the validation part, %")
    right.set_ylim(-2, 102)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    return _png(figure)


def confusion(counts: Mapping[tuple[str, str], int], alphabet: Sequence[str]) -> bytes:
    """The confusion matrix: truths in rows, readings in columns.

    Colors show shares of a row. From an alphabet of more than 60 symbols, the 60 that are
    confused most often are shown.

    Args:
      counts: the result of `metrics.confusions`; '' stands for no symbol.
      alphabet: the symbols.
    """
    plt = _pyplot()
    alphabet = most_confused(counts, alphabet)
    symbols = [*alphabet, ""]
    table = [[counts.get((x, y), 0) for y in symbols] for x in symbols]
    shares = [[n / max(sum(row), 1) for n in row] for row in table]
    size = max(3.5, 0.26 * len(symbols))
    figure, axes = plt.subplots(figsize=(size, size), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(table):
        for j, n in enumerate(row):
            if n:
                color = "white" if shares[i][j] > 0.5 else "black"
                axes.text(j, i, str(n), ha="center", va="center", fontsize=6, color=color)
    names = [*map(_name, alphabet), "none"]
    axes.set_xticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.tick_params(axis="x", labelrotation=0)
    axes.set_xlabel("read as")
    axes.set_ylabel("truth")
    return _png(figure)


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> bytes:
    """Reliability diagram: accuracy against confidence, in bins of equal width."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for x, y, count in metrics.bins_of(confidences, right, bins):
        axes.plot(x, y, "o", color="tab:blue", markersize=4 + 10 * (count / len(right)) ** 0.5)
        axes.annotate(str(count), (x, y), (-8, -14), textcoords="offset points", fontsize=8)
    axes.set_xlim(-0.03, 1.05)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("mean confidence of a bin")
    axes.set_ylabel("accuracy, with the number of images")
    axes.grid(alpha=0.3)
    return _png(figure)


def strengths(rows: Sequence[Any]) -> bytes:
    """Exact match against strength, one panel per distortion, from `robustness.Row`s."""
    plt = _pyplot()
    names = list(dict.fromkeys(row.distortion for row in rows))
    across = min(4, len(names))
    down = -(-len(names) // across)
    size = (3 * across, 2.6 * down)
    figure, grid = plt.subplots(
        down, across, figsize=size, layout="constrained", squeeze=False, sharey=True
    )
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        for trained, label, color in (
            (False, "not trained on it", "tab:blue"),
            (True, "trained on it", "tab:orange"),
        ):
            own = [r for r in rows if r.distortion == name and r.trained_against == trained]
            if not own:
                continue
            x = [r.strength for r in own]
            axes.plot(x, [100 * r.exact_match for r in own], "o-", color=color, label=label)
            low, high = (
                [100 * getattr(r, f"exact_match_{e}") for r in own] for e in ("low", "high")
            )
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
            axes.set_xlabel(own[0].unit)
        axes.set_title(name)
        axes.set_ylim(-3, 103)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("exact match, %")
    grid.flat[0].legend(fontsize=8)
    return _png(figure)


def most_confused(counts: Mapping[tuple[str, str], int], alphabet: Sequence[str]) -> Sequence[str]:
    """The alphabet; from one of more than 60 symbols, the 60 that are confused most often."""
    if len(alphabet) <= _MAX_SYMBOLS:
        return alphabet
    wrong = dict.fromkeys(alphabet, 0)
    for pair, count in counts.items():
        for symbol in pair:
            if symbol in wrong:
                wrong[symbol] += count if pair[0] != pair[1] else 0
    kept = set(sorted(alphabet, key=lambda symbol: -wrong[symbol])[:_MAX_SYMBOLS])
    return [symbol for symbol in alphabet if symbol in kept]


def _name(text: str) -> str:
    return shorten(text, _MAX_NAME)


def _png(figure: Any, dpi: int = 120) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ")  # missing symbols are drawn as boxes
        figure.savefig(buffer, format="png", dpi=dpi)
    _pyplot().close(figure)
    return buffer.getvalue()


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise RunError("plots need matplotlib: pip install 'crnn-jax[plots]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
