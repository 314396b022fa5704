"""Ctrl-C, SIGTERM, SIGHUP: progress is saved; the resumed run ends like an uninterrupted one."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crnn_jax.config import Config
from crnn_jax.errors import TrainingError
from crnn_jax.runs import mid_epoch
from crnn_jax.runtime import signals
from crnn_jax.training import train
from crnn_jax.training.progress import Progress
from tests.faults import commands
from tests.helpers.fixtures import MakeConfig
from tests.helpers.interrupting import interrupt_after
from tests.helpers.quiet import BARE, QUIET

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def config(tiny_config: MakeConfig) -> Config:
    """Three epochs of five steps."""
    return tiny_config({**QUIET, "train.epochs": 3, "log.every_steps": 2})


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """Under nohup SIGHUP is ignored, and a run leaves it so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


def test_an_interrupted_run_ends_bit_identical(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole.exists():
        train.train_and_evaluate(config, whole)
    run = tmp_path / "run"
    before = [signal.getsignal(number) for number in SIGNALS]
    # In the first epoch, again in the same epoch, and at the last step of an epoch.
    term, ctrl_c, hang_up = SIGNALS
    for steps, done, number in [(2, 2, term), (1, 3, ctrl_c), (7, 11, hang_up)]:
        interrupt_after(steps, number, monkeypatch)
        with pytest.raises(signals.Interrupted, match=rf"after step {done}, .*same command"):
            train.train_and_evaluate(config, run)
        assert [signal.getsignal(n) for n in SIGNALS] == before
    monkeypatch.undo()
    train.train_and_evaluate(config, run)
    assert commands.outcome(run) == commands.outcome(whole)
    assert not (run / "interrupted").exists()


def test_a_loss_that_is_not_finite_is_not_saved_in_the_middle_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be that of a step that is not logged. A file with it would be refused as damaged."""
    saved: list[Any] = []
    monkeypatch.setattr(train, "save_mid_epoch", saved.append)
    monkeypatch.setattr(
        train.run_logging, "report_not_finite", lambda run: TrainingError("not finite")
    )
    for last, error in ((1.0, None), (math.nan, "not finite")):
        run: Any = SimpleNamespace(
            error=None, steps_since=2, context=SimpleNamespace(steps_per_epoch=5),
            losses=[np.array([3.0]), np.array([last])],
        )  # fmt: skip
        train.end_epoch(run, Progress([]))
        assert (str(run.error) if run.error else None) == error
    assert len(saved) == 1


def test_what_was_left_of_an_epoch_that_ended_since_is_not_taken(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    """A kill between the checkpoint of an epoch and the removal of the interrupted one."""
    if not whole.exists():
        train.train_and_evaluate(config, whole)
    monkeypatch.setattr(mid_epoch, "clear", lambda run: None)
    interrupt_after(2, signal.SIGTERM, monkeypatch)
    with pytest.raises(signals.Interrupted):
        train.train_and_evaluate(config, tmp_path / "run")
    interrupt_after(1000, signal.SIGTERM, monkeypatch)  # never
    train.train_and_evaluate(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "interrupted").glob("[0-9]*")] == ["2"]
    (tmp_path / "run" / "result.json").unlink()
    result = train.train_and_evaluate(config, tmp_path / "run")
    expected = json.loads((whole / "result.json").read_text())
    assert result.params_sha256 == expected["params_sha256"]


@pytest.mark.parametrize("grid", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_process_ends_by_the_signal_with_one_line(
    captchas: Path, tmp_path: Path, grid: bool
) -> None:
    experiment = "ablations.py:base" if grid else "tiny.py"
    command = [
        sys.executable, "-u", "run.py", "--config", f"experiments/{experiment}",
        f"--config.data.dir={captchas}", "--config.train.epochs=1000", "--workdir",
        str(tmp_path / "run"), "--config.data.width=16", "--config.data.height=8",
        "--config.model.conv_features=(2,)", "--config.model.lstm_units=(2,)",
        *(f"--config.{key}={value}" for key, value in BARE.items()),
    ]  # fmt: skip
    cell = tmp_path / "run" / "base" / "seed0-fold0" if grid else tmp_path / "run"
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = 60 / 0.1
        while not (cell / "metrics.jsonl").exists() or not (cell / "metrics.jsonl").read_text():
            deadline -= 1
            assert deadline, "the run does not begin"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGTERM
    assert said.count("\n") == 1
    assert "stopped by SIGTERM after" in said
    assert "run the same command again" in said
    assert not (cell / "failed.txt").exists()
    # The last state that was saved is of a step that metrics.jsonl may know.
    kept = [p for folder in ("checkpoints", "interrupted") for p in (cell / folder).glob("*")]
    assert kept


def test_a_cell_of_a_grid_that_is_killed_stops_as_if_it_were_asked_to() -> None:
    """The standard input of a cell is closed when the grid ends for any reason."""
    code = "import time; from crnn_jax.runtime import signals; signals.follow_input(); "
    code += "time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.stdin.close()
    assert process.wait(30) == -signal.SIGTERM


def _python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **more)


def test_a_second_ctrl_c_ends_at_once_and_without_a_traceback() -> None:
    code = """
import os, signal
from crnn_jax.runs import mid_epoch
from crnn_jax.runtime import signals
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in our programs
with signals.SignalWatcher() as watcher:
    os.kill(os.getpid(), signal.SIGINT)
    print(watcher.number, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)
"""
    done = _python(code)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "2\n", "")


def test_under_nohup_a_hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.SignalWatcher() as watcher:
            os.kill(os.getpid(), signal.SIGHUP)
            assert watcher.number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("command", [["run.py"], ["-m", "crnn_jax", "report", "x"]])
def test_ctrl_c_during_the_imports_prints_no_traceback(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'crnn_jax.runtime.terminal':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
