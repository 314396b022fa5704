"""The command that an error gives does what the user wanted."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.errors import RunError
from crnn_jax.runs import continuing
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import resume, train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A run that some tests change."""
    shutil.copytree(trained, tmp_path / "my run")
    return tmp_path / "my run"


def parsed(message: str) -> tuple[str, dict[str, str]]:
    """The first words of the command in a message, and its options."""
    command = message.partition("from its weights: ")[2]
    words = shlex.split(command)
    first = next(i for i, word in enumerate(words) if word.startswith("--config."))
    *changes, _, workdir = words[first:]
    options = dict(word.split("=", 1) for word in changes)
    return " ".join(words[:first]), {**options, "--workdir": workdir}


def test_more_epochs_for_a_finished_run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = config_lib.to_dict(train.RunDir(finished).config())
    longer = config_lib.from_dict(config_lib.with_changes(values, {"train.epochs": 100}))
    given = ["run.py", "--config", "experiments/tiny.py", "--config.train.epochs=100"]
    monkeypatch.setattr("sys.argv", [*given, "--workdir", str(finished)])
    with pytest.raises(RunError, match=r"train\.epochs: was \d+, is now 100") as error:
        train.train_and_evaluate(longer, finished)
    last = str(error.value).splitlines()[-1]
    expected = ["python", *given, f"--config.train.init_from={finished}"]
    command = last.partition("from its weights: ")[2]
    assert shlex.split(command) == [*expected, "--workdir", f"{finished}-2"]


def test_new_images_for_a_finished_run(
    finished: Path, captchas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line of the package, where the config is in the run directory."""
    data = tmp_path / "data"
    shutil.copytree(captchas, data)
    run = train.RunDir(finished)
    values = config_lib.with_changes(
        config_lib.to_dict(run.config()), {"data.dir": str(data), "train.epochs": 1}
    )
    run.write_json("config.json", values)
    draw("77777").save(data / "77777.png")
    monkeypatch.setattr("sys.argv", ["crnn_jax", "train", str(finished)])
    with pytest.raises(RunError, match="finished run on other data") as error:
        train.train_and_evaluate(config_lib.from_dict(values), finished)
    start, options = parsed(str(error.value))
    assert start == "python run.py --config experiments/base.py"
    workdir = options.pop("--workdir")
    changes: dict[str, Any] = {key.removeprefix("--config."): v for key, v in options.items()}
    assert changes["data.dir"] == str(data)
    kinds = config_lib.flatten(config_lib.defaults())
    typed = {k: v if isinstance(kinds[k], str) else eval(v) for k, v in changes.items()}
    config = config_lib.from_dict(config_lib.with_changes(config_lib.defaults(), typed))
    context = prepare(config)
    assert len(context.data.files) == 41
    directory = train.RunDir(workdir)
    directory.workdir.mkdir()
    with Checkpoints(directory.checkpoints) as checkpoints:
        started = resume.resume(directory, context, checkpoints, 0.0, False)
        weights = crnn_jax.load(finished).params
        jax.tree.map(np.testing.assert_array_equal, started.state.params, weights)


@pytest.mark.parametrize("argument", ["--workdir=x", "-workdir=x", "--config.train.init_from=x"])
def test_options_that_the_new_command_replaces(
    finished: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.setattr("sys.argv", ["/a/run.py", argument, "--config.seed=3"])
    advice = continuing.advice(finished, tiny_config())
    assert advice.endswith(f"--workdir '{finished}-2'")
    assert "python /a/run.py --config.seed=3 --config.train.init_from=" in advice
    assert advice.count("init_from") == 1
    # The same from the command line of the package, and where the new directory exists.
    monkeypatch.setattr("sys.argv", ["crnn_jax", "train", str(finished)])
    finished.with_name("my run-2").mkdir()
    advice = continuing.advice(finished, tiny_config(train__init_from="x"))
    assert advice.count("init_from") == 1
    assert advice.endswith(f"--workdir '{finished}-3'")


def test_no_command_is_given_where_none_would_work(
    finished: Path, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    assert continuing.advice(tmp_path, config) == ""  # without weights
    assert continuing.advice(finished, config, ["model.lstm_units"]) == ""
    assert continuing.advice(finished, config, ["data.height"]) == ""
    assert continuing.advice(finished, config, ["data.channels"]) == ""
    assert continuing.advice(finished, config, ["data.width", "train.epochs"]) != ""
