"""What a contest's times come to: medians, ratios, a table, and the record as JSON."""

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

TOLERANCE = 1e-3  # of logits and, relative, of losses: float32 through 50 steps of two LSTMs
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def disagreement(facts: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """What two contenders differ in that they should not; '' if they agree."""
    if facts["parameters"] != reference["parameters"]:
        return f"{facts['parameters']} parameters, not {reference['parameters']}"
    if facts["logits"] is not None:
        apart = float(np.abs(np.subtract(facts["logits"], reference["logits"])).max())
        if not apart < TOLERANCE:
            return f"logits {apart:.1e} apart"
    if facts["loss"] is not None:
        apart = abs(facts["loss"] / reference["loss"] - 1)
        if not apart < TOLERANCE:
            return f"a loss of {facts['loss']:.3f}, not {reference['loss']:.3f}"
    return ""


def summary(series: Mapping[str, Sequence[float]], first: str) -> dict[str, dict[str, float]]:
    """Median, least and greatest of each series, and the median of `first` over its own.

    A ratio above 1 says that the series is faster than `first`. Empty series have no row.
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
    """A summary as Markdown."""
    lines = [f"| {title} | median | min to max | {first} over it |", "|---|---|---|---|"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["median"]):
        spread = f"{row['min']:.4g} to {row['max']:.4g}"
        lines.append(f"| {name} | {row['median']:.4g} | {spread} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def write(
    out: Path, settings: Mapping[str, Any], results: Any, devices: Sequence[str] = ("cpu",)
) -> None:
    """The record of a contest as JSON: date, machine, versions, commit, settings, results.

    What is not finite becomes null, which JSON has, and what JSON has not becomes text.
    """
    put(out, {**place(devices), "settings": settings, "results": results})
    print(f"\nwrote {out}")


def place(devices: Sequence[str] = ("cpu",)) -> dict[str, Any]:
    """When and where something is measured.

    The variable COMMIT names the commit of a copy without git.
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
    """Writes a record, whole or not at all: a process may be ended while it writes."""
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
