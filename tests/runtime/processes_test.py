"""Devices and forks: one clear line instead of a traceback or a process that never ends."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax.errors import DeviceError, RunError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runtime import processes, terminal
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw

ROOT = Path(__file__).resolve().parents[2]


LETTERS = "abcdefghijklmnopqrs"


def without_a_gpu(*command: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def check_line(text: str) -> None:
    (line,) = text.splitlines()
    assert "JAX_PLATFORMS=cuda" in line
    assert "unset JAX_PLATFORMS" in line


def test_predict_without_the_gpu_that_was_asked_for(trained: Path, captchas: Path) -> None:
    done = without_a_gpu("-m", "crnn_jax", "predict", trained, sorted(captchas.iterdir())[0])
    assert (done.returncode, done.stdout) == (2, "")
    check_line(done.stderr)


def test_a_sweep_without_the_gpu_that_was_asked_for_runs_no_cell(
    captchas: Path, tmp_path: Path
) -> None:
    data, sweep = f"--config.data.dir={captchas}", tmp_path / "sweep"
    done = without_a_gpu(
        "run.py", "--config", "experiments/ablations.py:no_dropout", data, "--workdir", sweep
    )
    assert done.returncode == 1
    check_line(done.stderr)
    assert not list(sweep.rglob("config.json"))


def test_training_without_the_gpu_that_was_asked_for_claims_no_directory(
    captchas: Path, tmp_path: Path
) -> None:
    data, run = f"--config.data.dir={captchas}", tmp_path / "run"
    done = without_a_gpu("run.py", "--config", "experiments/tiny.py", data, "--workdir", run)
    assert done.returncode == 1
    check_line(done.stderr)
    assert not run.exists()


@pytest.mark.long
@pytest.mark.parametrize("verb", ["generate", "robustness", "evaluate", "train", "import-keras"])
def test_every_verb_without_the_gpu_that_was_asked_for(
    trained: Path, tmp_path: Path, verb: str, keras_files: Path
) -> None:
    arguments: dict[str, list[Any]] = {
        "generate": ["captcha_v2", 2, tmp_path / "out", "--seed", 1],
        "robustness": [trained],
        "evaluate": [trained],
        "train": [tmp_path / "run"],
        "import-keras": [
            next(keras_files.glob("*.keras")),
            tmp_path / "new",
            "--alphabet",
            LETTERS,
        ],
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes((trained / "config.json").read_bytes())
    done = without_a_gpu("-m", "crnn_jax", verb, *arguments[verb])
    assert done.returncode == 2
    check_line(done.stderr)


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What JAX does if JAX_PLATFORMS names a device without a plugin."""

    def fail() -> None:
        raise AssertionError

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(processes, "_has_started", False)


def test_calls_without_a_device(no_device: None, trained: Path, tiny_config: MakeConfig) -> None:
    with pytest.raises(DeviceError, match="no device"):
        crnn_jax.load(trained)
    with pytest.raises(DeviceError, match="no device"):
        crnn_jax.train_and_evaluate(tiny_config(), trained / "nowhere")
    with pytest.raises(DeviceError, match="no device"):
        crnn_jax.decode_batch_predictions(np.zeros((1, 2, 3)), "ab")


def test_an_error_that_another_package_made_of_it(
    no_device: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        try:
            jax.devices()
        except AssertionError as error:
            raise RunError("checkpoints cannot be read: AssertionError:") from error

    assert terminal.conclude(verb, failure=2) == 2
    assert "JAX finds no device" in capsys.readouterr().err
    assert terminal.conclude(jax.devices, failure=2) == 2
    assert "JAX finds no device" in capsys.readouterr().err


def test_training_in_64_bits_is_refused_before_a_directory_is_claimed(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    jax.config.update("jax_enable_x64", True)
    try:
        with pytest.raises(DeviceError, match="JAX_ENABLE_X64"):
            crnn_jax.train_and_evaluate(tiny_config(), tmp_path / "run")
    finally:
        jax.config.update("jax_enable_x64", False)
    assert not (tmp_path / "run").exists()


def in_a_fork(call: Callable[[], Any]) -> str:
    """What a call raises in a forked child: the name and the text of the error."""
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX and of Python, about forks
        child = os.fork()
    if not child:
        try:
            call()
            said = "nothing"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    for _ in range(600):  # a child that hangs fails the test
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with os.fdopen(receive, "rb") as pipe:
        return pipe.read().decode()


def test_a_fork_of_a_process_that_reads(trained: Path, tiny_config: MakeConfig) -> None:
    reader = crnn_jax.load(trained)
    picture = np.asarray(draw("ab7"))
    (expected,) = reader.predict(picture)
    pickled = pickle.dumps(reader)  # as a pool of processes does
    config = tiny_config()
    calls: list[Callable[[], Any]] = [
        lambda: reader.predict(picture),
        lambda: list(reader.stream(iter([picture]), explain=True)),
        lambda: pickle.loads(pickled).predict(picture),
        lambda: crnn_jax.load(trained),
        lambda: crnn_jax.load("general"),
        lambda: reader.evaluate(),
        lambda: train.train_and_evaluate(config, trained / "nowhere"),
        lambda: reader.decode_batch_predictions(np.zeros((1, 2, 5))),
    ]
    for call in calls:
        assert in_a_fork(call).startswith("DeviceError: this process was forked")
    assert reader.predict(picture) == [expected]  # the parent goes on


def test_a_fork_before_jax_starts_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_has_started", False)
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", None)
    assert in_a_fork(lambda: 1 / processes._is_forked).startswith("ZeroDivisionError")


def test_a_reader_goes_through_a_pickle(trained: Path) -> None:
    reader = crnn_jax.load(trained)
    again: Recognizer = pickle.loads(pickle.dumps(reader))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(again.params))
    picture = draw("ab7")
    assert again.predict(picture) == reader.predict(picture)
