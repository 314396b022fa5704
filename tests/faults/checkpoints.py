"""Reads every checkpoint of a run: `python -m tests.faults.checkpoints RUN` prints the epochs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Prints a JSON list of the epochs that can be loaded. DamageError for one that cannot be."""
    from crnn_jax.inference import recognizer

    (run,) = arguments
    folder = Path(run) / "checkpoints"
    epochs = sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit())
    for epoch in epochs:
        recognizer.load(run, epoch=epoch)
    print(json.dumps(epochs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
