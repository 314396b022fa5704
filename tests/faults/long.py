"""The long version of this suite: kills, full disks, mutated files, spoilt runs.

    python -m tests.faults.long [--only kills,disks,pictures,runs] [--seed 0] [--scale 1.0]

As root it fills a small tmpfs and mounts it read-only; without, that part is left out, and said to
be. Prints a line a part, and ends with status 1 if anything was lost or answered wrongly.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests import compiling  # noqa: F401  (before jax)

PARTS = {"kills": "kills", "disks": "disks", "pictures": "many", "runs": "many"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and mutations")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts, for a short look")
    options = parser.parse_args()
    faulthandler.dump_traceback_later(7200, exit=True)  # nothing may hang
    failed = False
    for name in options.only.split(","):
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            try:
                part = getattr(importlib.import_module(f"tests.faults.{PARTS[name]}"), name)
                figures = part(Path(work).resolve(), random.Random(options.seed), options.scale)
            except AssertionError as error:
                failed, figures = True, {"FAILED": f"{error}"}  # type: ignore[dict-item]
                traceback.print_exc()
        text = ", ".join(f"{what}: {value}" for what, value in figures.items())
        print(f"{name}: {text}; {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
