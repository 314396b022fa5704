"""Profiles of training steps."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE


def _steps(workdir: Path) -> list[int]:
    """Returns the numbers of the steps in the trace for Perfetto, in the order of time."""
    (path,) = workdir.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    found = [e for e in events if e.get("name") == "train step"]
    return [int(e["args"]["step_num"]) for e in sorted(found, key=lambda e: float(e["ts"]))]


def test_the_steps_after_the_first_three_are_recorded(
    tiny_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs of five steps. A run that ends earlier leaves the steps that it made."""
    config = tiny_config(BARE, train__epochs=2, train__batch_size=8)
    train.train_and_evaluate(config, tmp_path / "four", profiled_steps=4)
    assert _steps(tmp_path / "four") == [3, 4, 5, 6]
    train.train_and_evaluate(config, tmp_path / "all", profiled_steps=100)
    assert _steps(tmp_path / "all") == [3, 4, 5, 6, 7, 8, 9]
    assert f"profile: {tmp_path / 'all' / 'profile'}" in capsys.readouterr().out
    train.train_and_evaluate(config, tmp_path / "none")
    assert not (tmp_path / "none" / "profile").exists()


def test_too_few_steps_are_said(
    tiny_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(BARE, train__epochs=1, train__batch_size=16)  # 36 images
    train.train_and_evaluate(config, tmp_path, profiled_steps=4)
    assert "note: no step was profiled" in capsys.readouterr().out
    assert not (tmp_path / "profile").exists()


def test_a_sweep_is_not_profiled() -> None:
    command = [sys.executable, "run.py", "--config", "experiments/ablations.py", "--profile", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "--profile is for one run" in done.stderr
