"""Commands as a person gives them, in processes of their own, and what a run must end with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6


def captchas(folder: Path, count: int = 40) -> Path:
    """Pictures of distinct texts over 'abc7', as the tests have them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts["".join(rng.choice(list("abc7"), rng.integers(2, 5)))] = None
    for text in texts:
        image = Image.new("L", (64, 16), 220)
        for i, character in enumerate(text):
            ImageDraw.Draw(image).text((6 + 14 * i, 2), character, fill=20)
        image.save(folder / f"{text}.png")
    return folder


def train_command(data: Path, run: Path, *more: str, epochs: int = EPOCHS) -> list[str]:
    return [sys.executable, "run.py", "--config", "experiments/tiny.py",
            f"--config.data.dir={data}", f"--config.train.epochs={epochs}",
            "--config.log.every_steps=2", "--workdir", str(run), *more]  # fmt: skip


def verb(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "crnn_jax", *map(str, arguments)]


def call(
    command: Sequence[str], status: int | None = 0, **more: Any
) -> subprocess.CompletedProcess:
    """Runs a command to its end. AssertionError for another status, or a traceback."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3000, **more)
    said = f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, said
    assert status is None or done.returncode == status, said
    return done


def outcome(run: Path) -> dict[str, Any]:
    """What a run must end with, whatever happened to it: all but times."""
    result = json.loads((run / "result.json").read_text())
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        "result": {k: v for k, v in result.items() if k != "seconds"},
        "metrics": [{k: v for k, v in line.items() if k != "seconds"} for line in lines],
        "readings": (run / "readings.csv").read_text(),
        "errors": (run / "errors.csv").read_text(),
    }
