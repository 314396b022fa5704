"""A run on several processes of this machine, which find each other over the loopback interface."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training.train import train_and_evaluate
from experiments.ablations import NO_AUGMENTATION
from tests.helpers.command_line import ROOT
from tests.helpers.fixtures import MakeConfig

LIMIT = 300.0  # seconds; fails a test instead of hanging
EPOCHS = "--config.train.epochs=6"  # of a run that is interrupted
SET = (
    "--config=experiments/tiny.py",
    "--config.data.source=synthetic",
    "--config.data.count=120",
    "--config.log.every_steps=1",
)


@dataclasses.dataclass
class Process:
    popen: subprocess.Popen[str]
    errors: Path

    def child(self) -> int:
        """Returns the number of the process that trains."""
        tasks = Path(f"/proc/{self.popen.pid}/task")
        return int(next(tasks.glob("*/children")).read_text().split()[0])


def start(folder: Path, count: int, *arguments: str) -> list[Process]:
    """Starts all processes of a run in `folder`/run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    run = folder / "run"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
    started = []
    for index in range(count):
        where = (f"--coordinator=localhost:{port}", f"--processes={count}", f"--process={index}")
        command = [sys.executable, "run.py", *SET, f"--workdir={run}", *where, *arguments]
        errors = folder / f"errors{index}.txt"
        with (folder / f"output{index}.txt").open("w") as out, errors.open("w") as err:
            popen = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=err, text=True
            )
        started.append(Process(popen, errors))
    return started


def end(processes: Sequence[Process]) -> list[int]:
    """Waits for the processes and returns their statuses."""
    try:
        return [process.popen.wait(LIMIT) for process in processes]
    finally:
        for process in processes:
            process.popen.kill()


def train(folder: Path, count: int, *arguments: str) -> None:
    processes = start(folder, count, *arguments)
    statuses = end(processes)
    assert statuses == [0] * count, [process.errors.read_text() for process in processes]


def alone(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "run.py", *SET, f"--workdir={folder / 'run'}", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def wait_for(folder: Path, epoch: int) -> None:
    """Returns when an epoch has ended."""
    output, deadline = folder / "output0.txt", time.monotonic() + LIMIT
    while f"epoch {epoch}/" not in output.read_text():
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    return [line["step_loss"] for line in lines if "step_loss" in line]


def result(folder: Path) -> Any:
    return RunDir(folder / "run").result()


def whole_and_cut(folder: Path) -> tuple[Path, Path]:
    """Returns a folder with an undisturbed run on two processes, and an empty one."""
    whole, cut = folder / "whole", folder / "cut"
    whole.mkdir()
    cut.mkdir()
    train(whole, 2, EPOCHS)
    return whole, cut


def check_that_the_same_command_continues(whole: Path, cut: Path) -> None:
    """The run in `cut` was interrupted; in the end it is that in `whole`, bit for bit."""
    assert result(cut) is None
    train(cut, 2, EPOCHS)
    assert result(cut).params_sha256 == result(whole).params_sha256
    assert losses(cut) == losses(whole)


def test_two_processes_train_the_run_of_one(
    tmp_path: Path, captchas: Path, tiny_config: MakeConfig
) -> None:
    """With dropout and noise, which each process draws for its images only."""
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    changes = {
        "data.source": "folder", "data.dir": os.fspath(captchas), "model.lstm_units": (8,),
        "train.epochs": 1, "flat_start.until": 0.0, **NO_AUGMENTATION, "augment.noise": 0.1,
    }  # fmt: skip
    train(two, 2, *(f"--config.{key}={value}" for key, value in changes.items()))
    # In this process, which uses one device for a batch of 8.
    train_and_evaluate(tiny_config({**changes, "log.every_steps": 1}), one / "run")
    assert len(losses(one)) == 5  # 36 training images in batches of 8
    # The gradient is a sum of two parts instead of one; float32 has 24 bits.
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
    assert result(two).fingerprint == result(one).fingerprint
    assert (two / "output1.txt").read_text().count("\n") <= 1  # only gloo may print a line
    assert "epoch 1/1" in (two / "output0.txt").read_text()
    environment = RunDir(two / "run").environment()
    assert environment["processes"] == 2
    assert len(environment["devices"]) == 2


@pytest.mark.long
@pytest.mark.parametrize("source", ["synthetic", "stream"])
def test_four_processes_train_the_run_of_one(tmp_path: Path, source: str) -> None:
    one, four = tmp_path / "one", tmp_path / "four"
    four.mkdir()
    train(four, 4, f"--config.data.source={source}")
    alone(one, f"--config.data.source={source}")
    np.testing.assert_allclose(losses(four), losses(one), rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_the_loss_of_a_process_ends_all_and_the_same_command_continues(
    tmp_path: Path, victim: int, how: signal.Signals
) -> None:
    whole, cut = whole_and_cut(tmp_path)
    processes = start(cut, 2, EPOCHS)
    wait_for(cut, 2)
    child = processes[victim].child()
    os.kill(child, how)
    other = processes[1 - victim]
    status = other.popen.wait(60)
    if how == signal.SIGSTOP:
        os.kill(child, signal.SIGCONT)
    end(processes)
    said = other.errors.read_text().splitlines()
    if how == signal.SIGTERM:
        assert status == -signal.SIGTERM
        assert said[-1].startswith("stopped by SIGTERM after step")
    else:
        assert status == 70
        assert len(said) == 1
        assert f"process {victim}" in said[0]
    check_that_the_same_command_continues(whole, cut)


@pytest.mark.long
def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path: Path) -> None:
    """After epoch 1, process 0 cannot write files of more than 64 KiB, as on a full disk.

    It writes the parameters, because each process has the same.
    """
    whole, cut = whole_and_cut(tmp_path)
    processes = start(cut, 2, EPOCHS)
    wait_for(cut, 1)
    resource.prlimit(processes[0].child(), resource.RLIMIT_FSIZE, (2**16, 2**16))
    assert end(processes) == [1, 1]
    said, heard = (process.errors.read_text().splitlines() for process in processes)
    assert len(said) == len(heard) == 1
    assert "cannot be written: File too large" in said[0]
    assert "process 0 of 2" in heard[0]
    assert "cannot be written: File too large" in heard[0]
    check_that_the_same_command_continues(whole, cut)


@pytest.mark.long
def test_a_process_with_other_data_or_another_directory_is_named(
    tmp_path: Path, captchas: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(captchas, changed)
    next(changed.glob("*.png")).unlink()
    folders = [
        ("--config.data.source=folder", f"--config.data.dir={d}") for d in (captchas, changed)
    ]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for index in (0, 1):
        where = (f"--coordinator=localhost:{port}", "--processes=2", f"--process={index}")
        command = [sys.executable, "run.py", *SET, f"--workdir={tmp_path / 'run'}", *where]
        started.append(
            subprocess.Popen(
                [*command, *folders[index]], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                stdout=subprocess.DEVNULL, env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
            )
        )  # fmt: skip
    said = [process.communicate(timeout=LIMIT)[1] for process in started]
    assert [process.returncode for process in started] == [1, 1]
    assert [text.count("\n") for text in said] == [1, 1]
    assert f"data.dir: {changed} on process 1 of 2" in said[0]
    assert not (tmp_path / "run").exists()


ENGINES = {
    "mpirun": ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2"],
    "srun": ["srun", "--ntasks=2"],  # of a Slurm that runs on this machine
}


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_tells_the_processes_how_to_find_each_other(tmp_path: Path, engine: str) -> None:
    if shutil.which(engine) is None or (engine == "srun" and _output("sinfo") is None):
        pytest.skip(f"{engine} is not installed or does not run here")
    engined, given = tmp_path / "engine", tmp_path / "given"
    for folder in (engined, given):
        folder.mkdir()
    command = [*ENGINES[engine], sys.executable, "run.py", *SET, f"--workdir={engined / 'run'}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [*command, "--distributed", "--config.train.epochs=2"],
        cwd=ROOT, env=environment, check=True, capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    train(given, 2, "--config.train.epochs=2")
    assert RunDir(engined / "run").environment()["processes"] == 2
    assert result(engined).params_sha256 == result(given).params_sha256


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def test_flags_of_several_hosts_are_checked(tmp_path: Path) -> None:
    def says(*arguments: str) -> str:
        command = [sys.executable, "run.py", *SET, f"--workdir={tmp_path / 'run'}", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr

    assert "must be given together" in says("--processes=2")
    assert "neither Slurm, Open MPI nor Kubernetes" in says("--distributed")
    assert not (tmp_path / "run").exists()
