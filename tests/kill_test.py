"""A run killed at any moment and started again ends as one that was not."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _command(folder, workdir):
    return [
        sys.executable, "run.py", "--config", "experiments/tiny.py", f"--config.data.dir={folder}",
        "--config.train.epochs=6", "--workdir", str(workdir),
    ]  # fmt: skip


def _finish(command):
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="two"), pytest.param(10, id="ten", marks=pytest.mark.long)]
)
def test_killed_at_random_moments_ends_bit_identical(captchas, tmp_path, kills):
    _finish(_command(captchas, tmp_path / "whole"))
    expected = json.loads((tmp_path / "whole" / "result.json").read_text())

    moments = random.Random(kills)
    workdir = tmp_path / "killed"
    begun = lambda: (workdir / "config.json").exists()  # noqa: E731
    done = 0
    while done < kills and not (workdir / "result.json").exists():
        process = subprocess.Popen(
            _command(captchas, workdir), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        # Imports take the first seconds and touch no file: aim at what comes after.
        while process.poll() is None and not begun():
            time.sleep(0.01)
        try:
            process.wait(timeout=moments.uniform(0, 9))
        except subprocess.TimeoutExpired:
            process.kill()
            done += 1
        error = process.communicate()[1].decode()
        assert "error" not in error.lower(), error
    assert done > 0
    _finish(_command(captchas, workdir))
    result = json.loads((workdir / "result.json").read_text())
    assert {k: v for k, v in result.items() if k != "seconds"} == {
        k: v for k, v in expected.items() if k != "seconds"
    }
    epochs = [
        line["epoch"]
        for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        if "val_loss" in line
    ]
    assert epochs == list(range(1, 7))
