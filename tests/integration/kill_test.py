"""A run that is killed at any moment and started again ends like an uninterrupted one."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _start(folder: Path, workdir: Path) -> Any:
    """Starts a run of six epochs, and waits until its imports are done, which touch no file."""
    command = [
        sys.executable, "-u", "run.py", "--config", "experiments/tiny.py",
        f"--config.data.dir={folder}", "--config.train.epochs=6", "--workdir", str(workdir),
        "--config.model.lstm_units=(8,)",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = [process.stdout.readline()]
    assert "fingerprint" in said[0], said + process.stdout.readlines()
    return process


@pytest.mark.long
@pytest.mark.parametrize("kills", [pytest.param(1, id="one"), pytest.param(10, id="ten")])
def test_killed_at_random_moments_ends_bit_identical(
    captchas: Path, tmp_path: Path, kills: int
) -> None:
    process, begun = _start(captchas, tmp_path / "whole"), time.monotonic()
    output = process.communicate()[0]
    assert process.returncode == 0, output
    duration = time.monotonic() - begun
    expected = json.loads((tmp_path / "whole" / "result.json").read_text())

    moments = random.Random(kills)
    workdir = tmp_path / "killed"
    killed = 0
    for _ in range(10 * kills):
        process = _start(captchas, workdir)
        if killed < kills:
            try:
                # Mostly early ones: later attempts find compiled programs and have less left to do.
                process.wait(timeout=moments.uniform(0, 0.3 * duration))
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
        output = process.communicate()[0]
        assert process.returncode in (0, -9), output
        if process.returncode == 0:
            break
    assert killed == kills
    result = json.loads((workdir / "result.json").read_text())
    assert {k: v for k, v in result.items() if k != "seconds"} == {
        k: v for k, v in expected.items() if k != "seconds"
    }
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    assert [line["epoch"] for line in lines if "val_loss" in line] == list(range(1, 7))
