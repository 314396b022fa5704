"""Training from Python."""

from pathlib import Path

import pytest

import crnn_jax
from crnn_jax.errors import ConfigError
from crnn_jax.runs.run_dir import RunDir
from experiments import tiny
from tests.helpers.quiet import QUIET


def test_one_call_trains_and_the_next_only_loads(captchas: Path, tmp_path: Path) -> None:
    config = tiny.get_config()
    config.data.dir, config.data.source, config.train.epochs = str(captchas), "folder", 2
    config.update_from_flattened_dict({**QUIET, "model.lstm_units": (8,)})
    run = crnn_jax.train(config, tmp_path / "run")
    assert run.result == RunDir(tmp_path / "run").result()
    assert [line["epoch"] for line in run.metrics] == [1, 2]
    assert {tuple(line) for line in run.metrics} == {tuple(run.metrics[0])}
    assert run.reader is run.reader
    assert run.reader.epoch == run.result.best_epoch
    assert len(run.reader.predict(captchas / min(captchas.iterdir()))) == 1
    before = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    changes = {
        f"{section}.{key}": value
        for section, values in config.to_dict().items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    again = crnn_jax.train(changes, tmp_path / "run")
    assert again.config == run.config
    assert again.result == run.result
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_key_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.dirr"):
        crnn_jax.train({"data.dirr": "x"}, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        crnn_jax.train({"train.epochs": "ten"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
