"""Pictures of reports: of a grid's variants, and of one run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from crnn_jax import metrics
from crnn_jax.errors import RunError
from crnn_jax.report import BASE, Row


def variants(rows: Sequence[Row]) -> bytes:
    """Exact match of every variant with its interval, as a PNG. RunError without matplotlib."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 1 + 0.35 * len(rows)), layout="constrained")
    for y, row in enumerate(reversed(rows)):
        values = [100 * v for v in (row.exact_match_low, row.exact_match, row.exact_match_high)]
        axes.plot([values[0], values[2]], [y, y], color="0.6", linewidth=2)
        axes.plot(values[1], y, "o", color="tab:blue" if row.variant == BASE else "black")
        axes.annotate(f"{values[1]:.1f}", (values[1], y), (0, 5), textcoords="offset points",
                      ha="center", fontsize=7)  # fmt: skip
    names = [f"{row.variant} ({row.runs})" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.set_xlabel("exact match, %, pooled over runs, with 95 % Wilson interval")
    axes.margins(y=0.08)
    axes.grid(axis="x", alpha=0.3)
    return _png(figure, 150)


def sizes(rows: Sequence[Row]) -> bytes:
    """Exact match against the size of the training set, as a PNG."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    rows = sorted(rows, key=lambda row: row.num_train)
    counts, rates = [row.num_train for row in rows], [100 * row.exact_match for row in rows]
    # At 0 and 1 rounding can put an end of the interval on the wrong side by a hair.
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


def curves(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Losses and exact match by epoch, of the lines of a `metrics.jsonl`, as a PNG."""
    plt = _pyplot()
    epochs = [line for line in lines if "val_loss" in line]
    x = [line["epoch"] for line in epochs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(x, [line["loss"] for line in epochs], label="training")
    left.plot(x, [line["val_loss"] for line in epochs], label="validation")
    left.set_yscale("log")
    left.set_ylabel("CTC loss, nats a picture")
    left.legend()
    right.plot(x, [100 * line["exact_match"] for line in epochs], color="tab:orange")
    right.set_ylabel("exact match of the validation part, %")
    right.set_ylim(-2, 102)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    return _png(figure)


def confusion(counts: Mapping[tuple[str, str], int], alphabet: str) -> bytes:
    """Which symbol (down) was read as which (across), '' for nothing, as a PNG.

    Rows are shares of the symbol; what was read right stands on the diagonal.
    """
    plt = _pyplot()
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
    names = [*alphabet, "none"]
    axes.set_xticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.tick_params(axis="x", labelrotation=0)
    axes.set_xlabel("read as")
    axes.set_ylabel("truth")
    return _png(figure)


def reliability(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> bytes:
    """Share read right against confidence, in bins of equal width, as a PNG."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for x, y, count in metrics.bins_of(confidences, right, bins):
        axes.plot(x, y, "o", color="tab:blue", markersize=4 + 10 * (count / len(right)) ** 0.5)
        axes.annotate(str(count), (x, y), (-8, -14), textcoords="offset points", fontsize=8)
    axes.set_xlim(-0.03, 1.05)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("confidence, mean of a bin")
    axes.set_ylabel("share read right; the number is of pictures")
    axes.grid(alpha=0.3)
    return _png(figure)


def strengths(rows: Sequence[Any]) -> bytes:
    """Exact match against strength, a panel for each distortion of `strength.Row`s, as a PNG."""
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
            (False, "as it is", "tab:blue"),
            (True, "trained against it", "tab:orange"),
        ):
            own = [r for r in rows if r.distortion == name and r.trained_against == trained]
            x = [r.strength for r in own]
            axes.plot(x, [100 * r.exact_match for r in own], "o-", color=color, label=label)
            low, high = (
                [100 * getattr(r, f"exact_match_{e}") for r in own] for e in ("low", "high")
            )
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
            axes.set_xlabel(own[0].unit if own else axes.get_xlabel())
        axes.set_title(name)
        axes.set_ylim(-3, 103)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("exact match, %")
    grid.flat[0].legend(fontsize=8)
    return _png(figure)


def _png(figure: Any, dpi: int = 120) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    _pyplot().close(figure)
    return buffer.getvalue()


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise RunError("the picture needs matplotlib: pip install 'crnn-jax[plots]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
