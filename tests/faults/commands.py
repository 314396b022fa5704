"""Commands as a user enters them, and the outcome by which two runs are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.helpers import images

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6
SOURCES = ("folder", "stream")
# A model that starts quickly, because most of the time of an attempt is tracing.
SMALL = {
    "model.conv_features": "(4,)", "model.lstm_units": "(8,)", "augment.shift": 0.0,
    "augment.rotate": 0.0, "augment.scale": 0.0, "augment.shear": 0.0, "augment.ripple": 0.0,
}  # fmt: skip


def captchas(folder: Path, count: int = 40) -> Path:
    """Writes the images of `write_captchas` to a new folder."""
    folder.mkdir()
    images.write_captchas(folder, count)
    return folder


def small_style(path: Path) -> Path:
    """Writes a style of 64x16 images over 'abc7', which a stream draws quickly."""
    style = {
        "base": "plain", "alphabet": "abc7", "length": [2, 4], "width": 64, "height": 16,
        "size": [12, 13], "left": [2, 4], "baseline": [12, 13],
    }  # fmt: skip
    path.write_text(json.dumps(style))
    return path


def train_flags(
    data: Path, run: Path, source: str = "folder", epochs: int = EPOCHS, **more: object
) -> list[str]:
    """Flags of run.py for a tiny run. For a stream `data` is a style's JSON file.

    `more` is config keys, with __ for a dot.
    """
    place = {"folder": "data.dir", "stream": "data.style"}[source]
    flags = {
        "data.source": source, place: data, "data.count": 40, "train.epochs": epochs,
        "log.every_steps": 2, **{key.replace("__", "."): value for key, value in more.items()},
    }  # fmt: skip
    overrides = [f"--config.{key}={value}" for key, value in flags.items()]
    return ["--config", "experiments/tiny.py", *overrides, "--workdir", str(run)]


def train_command(data: Path, run: Path, *more: str, epochs: int = EPOCHS) -> list[str]:
    """A command that trains on a folder."""
    return [sys.executable, "run.py", *train_flags(data, run, epochs=epochs), *more]


def verb(*arguments: object) -> list[str]:
    """A command of `python -m crnn_jax`."""
    return [sys.executable, "-m", "crnn_jax", *map(str, arguments)]


def call(
    command: Sequence[str], status: int | None = 0, **more: Any
) -> subprocess.CompletedProcess[Any]:
    """Runs a command until it exits. AssertionError for another status, or a traceback."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3000, **more)
    said = f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, said
    assert status is None or done.returncode == status, said
    return done


def outcome(run: Path) -> dict[str, Any]:
    """Returns all that a finished run wrote except times: it must not depend on interruptions."""
    result = json.loads((run / "result.json").read_text())
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        "result": {k: v for k, v in result.items() if k != "seconds"},
        "metrics": [{k: v for k, v in line.items() if k != "seconds"} for line in lines],
        "readings": (run / "readings.csv").read_text(),
        "errors": (run / "errors.csv").read_text(),
    }


def differences(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Describes the differences of two outcomes in one line; empty if there are none."""
    wrong = []
    for part, value in expected.items():
        if found[part] == value:
            continue
        if isinstance(value, dict):
            keys = [k for k in value | found[part] if value.get(k) != found[part].get(k)]
            wrong += [f"{part}.{k}: {found[part].get(k)!r}, not {value.get(k)!r}" for k in keys]
        else:
            wrong.append(f"{part}: {str(found[part])[-300:]!r}, not {str(value)[-300:]!r}")
    return "; ".join(wrong)
