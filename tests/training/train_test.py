import csv
import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import Config
from crnn_jax.data import batching
from crnn_jax.errors import RunError, TrainingError
from crnn_jax.inference import recognizer
from crnn_jax.models import crnn
from crnn_jax.models import ctc_loss as ctc
from crnn_jax.runs.result import Result
from crnn_jax.training import run_logging, step, train
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.run import Run
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw
from tests.helpers.quiet import BARE, QUIET


class Interrupted(BaseException):
    """Simulates a kill; nothing may catch it."""


def _metrics(workdir: Path) -> list[Any]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, captchas: Path
) -> tuple[Config, Path, Result]:
    """A run of four epochs: its config, directory and result."""
    from crnn_jax import config as config_lib
    from experiments import tiny

    values = tiny.get_config()
    values.data.dir = str(captchas)
    values.model.lstm_units = (8,)
    values.log.every_steps = 3
    config = config_lib.from_config_dict(values)
    workdir = tmp_path_factory.mktemp("run")
    return config, workdir, train.train_and_evaluate(config, workdir)


def test_a_run_leaves_its_record(finished: tuple[Config, Path, Result], captchas: Path) -> None:
    _, workdir, _ = finished
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "environment.json",
        "params.txt",
        "augmented.png",
        "metrics.jsonl",
        "readings.csv",
        "errors.csv",
        "result.json",
        "reader.safetensors",
        "lock",
        "checkpoints",
        "checkpoints.json",
    }
    stored = json.loads((workdir / "result.json").read_text())
    assert {
        "exact_match", "cer", "num_examples", "best_epoch", "epochs_run", "val_loss", "seconds",
        "seed", "params_sha256", "data_name", "fingerprint", "num_train", "num_val",
        "temperature", "calibration_error",
    } <= stored.keys()  # fmt: skip
    assert stored["data_name"] == captchas.name
    assert (stored["num_train"], stored["num_val"], stored["num_examples"]) == (36, 4, 4)
    assert stored["epochs_run"] == 4
    environment = json.loads((workdir / "environment.json").read_text())
    assert environment["data"]["alphabet"] == "7abc"
    assert environment["data"]["fingerprint"] == stored["fingerprint"]
    with (workdir / "errors.csv").open() as file:
        misread = list(csv.DictReader(file))
    assert len(misread) == 4 - stored["num_exact"]
    assert all(row["truth"] != row["reading"] for row in misread)


def test_metrics_hold_every_epoch_and_every_third_step(
    finished: tuple[Config, Path, Result],
) -> None:
    # 36 images in batches of 8: five steps an epoch, twenty in all.
    _, workdir, result = finished
    lines = _metrics(workdir)
    epochs = [line for line in lines if "val_loss" in line]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 5), (2, 10), (3, 15), (4, 20)]
    steps = [line["step"] for line in lines if "step_loss" in line]
    assert steps == [3, 6, 9, 12, 15, 18]
    assert result.val_loss == min(line["val_loss"] for line in epochs)
    assert result.best_epoch == min(epochs, key=lambda line: line["val_loss"])["epoch"]


def test_a_finished_run_needs_no_data(
    finished: tuple[Config, Path, Result], tmp_path: Path
) -> None:
    """What the folder would decide is not compared; what the config says is."""
    config, workdir, result = finished
    stored = json.loads((workdir / "config.json").read_text())
    stored["data"]["dir"] = "moved"
    (tmp_path / "config.json").write_text(json.dumps(stored))
    shutil.copy(workdir / "result.json", tmp_path)
    gone = dataclasses.replace(config.data, dir="moved", width=0, length="labels")
    again = dataclasses.replace(config, data=gone)
    assert train.train_and_evaluate(again, tmp_path) == result
    with pytest.raises(RunError, match="a different config"):
        train.train_and_evaluate(dataclasses.replace(again, seed=99), tmp_path)


def test_a_finished_run_says_so_and_trains_no_more(
    finished: tuple[Config, Path, Result], capsys: pytest.CaptureFixture[str]
) -> None:
    config, workdir, result = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    before.pop(workdir / "config.json")
    assert train.train_and_evaluate(config, workdir) == result
    assert "is finished" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    finished: tuple[Config, Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, workdir, result = finished
    save = train.save

    def save_twice_then_stop(run: Run, seconds: Any) -> None:
        save(run, seconds)
        if run.epoch == 2:
            raise Interrupted

    monkeypatch.setattr(train, "save", save_twice_then_stop)
    with pytest.raises(Interrupted):
        train.train_and_evaluate(config, tmp_path)
    monkeypatch.setattr(train, "save", save)
    resumed = train.train_and_evaluate(config, tmp_path)
    assert "continuing after epoch 2" in capsys.readouterr().out
    assert resumed.params_sha256 == result.params_sha256
    assert resumed.val_loss == result.val_loss

    def without_time(lines: Any) -> list[Any]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert without_time(_metrics(tmp_path)) == without_time(_metrics(workdir))


def test_batch_size_sets_the_updates_and_each_example_is_seen_once_an_epoch(
    tiny_config: MakeConfig,
) -> None:
    for batch_size, updates in ((8, 5), (36, 1), (100, 1)):
        context = prepare(tiny_config(train__batch_size=batch_size))
        assert context.steps_per_epoch == updates
        order = batching.epoch_order(context.split.train, 0, 1)
        batches = list(batching.batches(order, batch_size))
        assert len(batches) == updates
        seen = np.concatenate([indices[mask] for indices, mask in batches])
        assert sorted(seen) == sorted(context.split.train)


def test_patience_ends_a_run(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 2.0, 3.0, 0.5])
    evaluate = TrainContext.evaluate

    def worse_and_worse(*arguments: Any) -> Any:
        return evaluate(*arguments)._replace(loss=next(losses))

    monkeypatch.setattr(TrainContext, "evaluate", worse_and_worse)
    config = tiny_config(train__patience=2)
    result = train.train_and_evaluate(config, tmp_path)
    assert (result.best_epoch, result.epochs_run) == (1, 3)


def test_stop_after_ends_a_run_and_leaves_its_schedule(
    finished: tuple[Config, Path, Result], tmp_path: Path
) -> None:
    whole_config, workdir, _ = finished
    limited = dataclasses.replace(whole_config.train, stop_after=2)
    config = dataclasses.replace(whole_config, train=limited)
    result = train.train_and_evaluate(config, tmp_path)
    assert result.epochs_run == 2
    first, whole = (
        [line["val_loss"] for line in _metrics(path) if "val_loss" in line]
        for path in (tmp_path, workdir)
    )
    assert first == whole[:2]
    assert train.train_and_evaluate(config, tmp_path) == result


def test_last_weights_are_those_of_the_last_epoch(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 2.0, 3.0])
    evaluate, scored = TrainContext.evaluate, []

    def worse_and_worse(context: TrainContext, params: Any, *temperature: Any) -> Any:
        scored.append(crnn.params_sha256(params))
        return evaluate(context, params, *temperature)._replace(loss=next(losses, 4.0))

    monkeypatch.setattr(TrainContext, "evaluate", worse_and_worse)
    config = tiny_config(train__stop_after=3, train__checkpoint_selection="last", train__patience=1)
    result = train.train_and_evaluate(config, tmp_path)
    assert (result.best_epoch, result.epochs_run) == (3, 3)
    assert result.params_sha256 == scored[2] != scored[0]


def test_a_loss_that_is_no_number_ends_the_run_and_names_step_and_pictures(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(BARE, log__every_steps=5)
    context = prepare(config)
    order = batching.epoch_order(context.split.train, config.seed, 1)
    victim = order[17]  # of the third batch of eight
    poison = jnp.asarray(context.labels[victim])

    def ctc_loss(logits: Any, labels: Any) -> jax.Array:
        if labels.shape[1] != len(poison):  # when reading
            return jnp.zeros(len(logits))
        same = (labels == poison[None]).all(-1)
        return jnp.where(same, math.nan, jnp.zeros(len(logits)))

    monkeypatch.setattr(ctc, "ctc_loss", ctc_loss)
    # Traced again, and not cached for other tests.
    monkeypatch.setattr(step, "_jitted", step._jitted.__wrapped__)
    message = r"step 3 is not finite.*steps 2 to 3 .*not_finite\.csv.*learning_rate"
    with pytest.raises(TrainingError, match=message):
        train.train_and_evaluate(config, tmp_path)
    with (tmp_path / "not_finite.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(str(2 + (n >= 16)), context.data.files[order[n]]) for n in range(8, 24)]
    assert [(row["step"], row["file"]) for row in rows] == expected
    assert context.data.texts[victim] == rows[9]["text"]


def test_a_run_that_stays_on_the_plateau_says_so(
    tiny_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train.train_and_evaluate(tiny_config(train__stop_after=1), tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if "not left" in line]
    plateau = json.loads((tmp_path / "environment.json").read_text())["data"]["plateau_loss"]
    assert result.val_loss > 0.75 * plateau
    assert len(said) == 1
    assert f"{result.val_loss:.2f}" in said[0]
    assert f"{plateau:.2f}" in said[0]
    run: Any = SimpleNamespace(stopping=Stopping(left_plateau=3))
    run_logging.warn_of_plateau(run, 0.1)
    assert capsys.readouterr().out == ""


def test_a_data_set_that_changed_is_refused(
    tiny_config: MakeConfig, tmp_path: Path, captchas: Path
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(captchas, folder)
    config = tiny_config(data__dir=str(folder), train__stop_after=1)
    train.train_and_evaluate(config, tmp_path / "run")
    victim = sorted(folder.iterdir())[0]
    shutil.copy(sorted(folder.iterdir())[1], victim)  # another image under an old name
    with pytest.raises(RunError, match="fingerprint"):
        train.train_and_evaluate(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match=r"the data set is not the one"):
        train.train_and_evaluate(config, tmp_path / "run")


def test_a_checkpoint_of_another_alphabet_is_refused(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config(data__alphabet="7abc", train__stop_after=1)
    train.train_and_evaluate(config, tmp_path)
    (tmp_path / "result.json").unlink()
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"7abc"', '"cba7"'))
    with pytest.raises(RunError, match=r"alphabet: was '7abc', is now 'cba7'"):
        train.train_and_evaluate(tiny_config(data__alphabet="cba7", train__stop_after=1), tmp_path)


def test_the_reader_learns_to_read_images_that_it_has_not_seen(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    """Texts with its alphabet and lengths, none of which is in its data set."""
    seen = {path.stem for path in captchas.iterdir()}
    words = ["".join(w) for n in (2, 3, 4) for w in itertools.product("abc7", repeat=n)]
    unseen = [word for word in words if word not in seen]
    assert len(unseen) == 4**2 + 4**3 + 4**4 - 40
    chosen = np.random.default_rng(0).choice(unseen, 60, replace=False).tolist()
    for word in chosen:
        draw(word).save(tmp_path / f"{word}.png")
    scores = recognizer.load(trained).evaluate(tmp_path).evaluation.scores
    # Guessing would read none. Other machines round differently, which changes a few words forty
    # epochs later.
    assert scores.num_examples == 60
    assert scores.num_exact >= 35


@pytest.mark.long
def test_colour_trains_with_three_channels(tiny_config: MakeConfig, tmp_path: Path) -> None:
    result = train.train_and_evaluate(
        tiny_config(QUIET, data__channels=3, train__epochs=1, flat_start__until=0.0), tmp_path
    )
    assert result.epochs_run == 1
    assert "(3, 3, 3, 4)" in (tmp_path / "params.txt").read_text()


def test_a_finished_run_says_so_without_its_data(
    tiny_config: MakeConfig, tmp_path: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(captchas, folder)
    config = tiny_config(data__dir=str(folder), train__stop_after=1)
    result = train.train_and_evaluate(config, tmp_path / "run")
    shutil.rmtree(folder)
    assert train.train_and_evaluate(config, tmp_path / "run") == result
    assert "is finished" in capsys.readouterr().out
