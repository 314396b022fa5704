"""The record of a part of gpu.sh. Its file is rewritten with each figure.

So a part that is cut off keeps its figures. Environment variables: OUT, the folder of the files;
SECONDS_LEFT, after which the part is killed; TINY=1, small sizes for a rehearsal.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ.get("OUT") or ROOT / "runs" / "benchmarks" / "gpu")
TINY = os.environ.get("TINY", "") not in ("", "0")
_END = time.monotonic() + float(os.environ.get("SECONDS_LEFT", "600"))


def pick(full: Any, tiny: Any) -> Any:
    """Returns the size for the measurement, or the one for its rehearsal."""
    return tiny if TINY else full


def seconds_left() -> float:
    """Seconds until this part is killed."""
    return _END - time.monotonic()


class Record:
    """The figures of a part, in groups by name. Several processes may write one after the other."""

    def __init__(self, part: str, devices: Sequence[str]):
        self.path = OUT / f"{part}.json"
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        self._place = before or {**figures.place(devices), "settings": {"tiny": TINY}}
        self.results: dict[str, Any] = before.get("results", {})

    def add(self, group: str, name: str, value: Any) -> None:
        """Records a figure and prints it."""
        self.results.setdefault(group, {})[name] = value
        self.save()
        shown = value
        if isinstance(value, dict):
            shown = "  ".join(f"{k} {short(v)}" for k, v in value.items())
        print(f"{group}: {name}: {short(shown)}", flush=True)

    def save(self) -> None:
        figures.put(self.path, {**self._place, "results": self.results})


def times(series: Sequence[float], images: int = 0, compiling: float = 0.0) -> dict[str, Any]:
    """Summarizes times: median, minimum and maximum, and images per second at the median.

    Args:
      series: milliseconds per update.
      images: per update; 0 for no rate.
      compiling: seconds to compile the program, 0 if there is none.
    """
    median = statistics.median(series)
    found = {"ms": median, "min": min(series), "max": max(series)}
    if images:
        found["images_per_s"] = 1000 * images / median
    if compiling:
        found["compile_s"] = compiling
    return found


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
