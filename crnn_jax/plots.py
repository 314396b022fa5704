"""Pictures of a report: a dot and its interval for each variant, a curve over sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crnn_jax.errors import RunError
from crnn_jax.report import BASE, Row


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
