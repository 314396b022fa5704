"""Summaries of the times of a contest: medians, ratios, a table, and a JSON record."""

from __future__ import annotations

import datetime
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.runs import provenance

TOLERANCE = 1e-3  # absolute for logits, relative for losses: float32, 50 steps of two LSTMs
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def disagreement(facts: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Describes how the results of two contenders differ; empty if they agree."""
    if facts["parameters"] != reference["parameters"]:
        return f"{facts['parameters']} parameters, not {reference['parameters']}"
    if facts["logits"] is not None:
        apart = float(np.abs(np.subtract(facts["logits"], reference["logits"])).max())
        if not apart < TOLERANCE:
            return f"logits differ by {apart:.1e}"
    if facts["loss"] is not None:
        apart = abs(facts["loss"] / reference["loss"] - 1)
        if not apart < TOLERANCE:
            return f"a loss of {facts['loss']:.3f}, not {reference['loss']:.3f}"
    return ""


def summary(series: Mapping[str, Sequence[float]], first: str) -> dict[str, dict[str, float]]:
    """Returns median, minimum, maximum and ratio of each series.

    The ratio is the median of `first` over the median of the series. Above 1, the series is faster
    than `first`. Empty series have no row.
    """
    medians = {name: statistics.median(values) for name, values in series.items() if values}
    return {
        name: {
            "median": median,
            "min": min(series[name]),
            "max": max(series[name]),
            "ratio": medians[first] / median if first in medians else float("nan"),
        }
        for name, median in medians.items()
    }


def table(title: str, rows: Mapping[str, Mapping[str, float]], first: str) -> str:
    """Formats a summary as Markdown."""
    lines = [f"| {title} | median | min to max | {first} over it |", "|---|---|---|---|"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["median"]):
        spread = f"{row['min']:.4g} to {row['max']:.4g}"
        lines.append(f"| {name} | {row['median']:.4g} | {spread} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def write(
    out: Path, settings: Mapping[str, Any], results: Any, devices: Sequence[str] = ("cpu",)
) -> None:
    """Writes a JSON record of a contest: date, machine, versions, commit, settings, results.

    Values that are not finite become null. Values that JSON does not have become text.
    """
    put(out, {**place(devices), "settings": settings, "results": results})
    print(f"\nwrote {out}")


def place(devices: Sequence[str] = ("cpu",)) -> dict[str, Any]:
    """Returns the time and the machine of a measurement.

    For a copy without git, the environment variable COMMIT gives the commit.
    """
    here = provenance.here(devices)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            **here,
            "commit": here["commit"] or os.environ.get("COMMIT"),
            "huge_pages": _HUGE_PAGES.read_text().strip() if _HUGE_PAGES.exists() else None,
        },
    }


def put(out: Path, record: Mapping[str, Any]) -> None:
    """Writes a record atomically, because a process may be killed while it writes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")
    os.replace(partial, out)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
