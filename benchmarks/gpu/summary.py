"""Status of the parts of gpu.sh, and a table of their figures. Uses only the standard library.

python benchmarks/gpu/summary.py mark PART STATUS SECONDS [LOG]    into the file of the part
python benchmarks/gpu/summary.py table PART ...
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(os.environ.get("OUT", "runs/benchmarks/gpu"))
_WORDS = {0: "ended", 124: "cut off", 137: "cut off"}  # statuses of timeout(1)
_SPREAD = ("min", "max")


def mark(part: str, program: str, status: str, seconds: str, log: str = "") -> None:
    """Records how a program of a part ended, and its last output if it failed."""
    path = OUT / f"{part}.json"
    record = json.loads(path.read_text()) if path.exists() else {"results": {}}
    how: dict[str, Any] = {"status": int(status), "seconds": float(seconds)}
    how["ended"] = _WORDS.get(int(status), "failed" if status != "-1" else "no time was left")
    if how["ended"] == "failed" and log and Path(log).exists():
        lines = Path(log).read_text(errors="replace").splitlines()
        how["said"] = [line[:300] for line in lines[-8:]]
    record.setdefault("programs", {})[program] = how
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{part} ({program}): {how['ended']}, {float(seconds):.0f} s", *how.get("said", ()),
          sep="\n    ", flush=True)  # fmt: skip


def table(parts: list[str]) -> None:
    print("\n| part | what | figures |\n|---|---|---|")
    for part in parts:
        path = OUT / f"{part}.json"
        if not path.exists():
            print(f"| {part} | | no file |")
            continue
        record = json.loads(path.read_text())
        for program, how in record.get("programs", {}).items():
            print(f"| {part} | {program} | {how['ended']}, {how['seconds']:.0f} s |")
        for name, value in rows(record["results"]):
            print(f"| {part} | {name} | {value} |")


def rows(results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Returns a name and a text for each figure."""
    for group, figures in results.items():
        if group in ("variables", "waves"):
            continue
        for name, value in figures.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {_short(v)}" for k, v in value.items() if k not in _SPREAD)
            yield f"{group}: {name}", _short(value)[:200]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    if sys.argv[1] == "mark":
        mark(*sys.argv[2:])
    else:
        table(sys.argv[2:])
