"""Runs side by side, compared with each run alone."""

import dataclasses
import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from crnn_jax.config import Config
from crnn_jax.errors import DataError, TrainingError
from crnn_jax.inference import recognizer
from crnn_jax.runs import grid as grids
from crnn_jax.runs import sweep
from crnn_jax.runtime import backend
from crnn_jax.runtime.signals import Interrupted
from crnn_jax.training import groups, train
from crnn_jax.training.context import TrainContext
from crnn_jax.training.progress import Progress
from crnn_jax.training.run import Run
from experiments import tiny
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


class Stopped(BaseException):
    """Simulates a kill."""


def metrics(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def configs(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Config]]:
    """Seed 3 of fold 0 and seed 4 of fold 1, with different moments, splits and learning rates.

    Two of the four updates of an epoch are in one call, so all tests share a program of two runs.
    """
    choices = backend.CPU._replace(steps=2)
    monkeypatch.setattr(backend, "choices", lambda: choices)

    def make(**changes: Any) -> list[Any]:
        common = {
            "data.num_folds": 4,
            "train.epochs": 2,
            "train.batch_size": 8,
            "data.normalize": "set",
            **changes,
        }
        common["log.every_steps"] = 3
        return [
            tiny_config(
                {**QUIET, **common}, seed=seed, data__fold=fold, optimizer__learning_rate=rate
            )
            for seed, fold, rate in ((3, 0, 0.02), (4, 1, 0.01))
        ]

    return make


def test_each_run_is_what_it_is_alone(configs: Callable[..., list[Config]], tmp_path: Path) -> None:
    """Record, metrics and reader agree up to rounding; the directory can be continued alone."""
    paths = [tmp_path / f"together{i}" for i in range(2)]
    results = train.train_all(configs(), paths)
    for i, (config, path, result) in enumerate(zip(configs(), paths, results, strict=True)):
        alone = tmp_path / f"alone{i}"
        expected = train.train_and_evaluate(config, alone)
        assert result.seed == config.seed
        assert result.num_exact == expected.num_exact
        assert result.val_loss == pytest.approx(expected.val_loss, rel=1e-3)
        for one, other in zip(metrics(path), metrics(alone), strict=True):
            assert one.keys() == other.keys()
            for name in one.keys() - {"seconds"}:
                assert one[name] == pytest.approx(other[name], rel=1e-3), name
        for name in ("readings.csv", "config.json", "params.txt"):
            assert (path / name).exists()
        files = [
            [line.split(",")[0] for line in (run / "readings.csv").read_text().splitlines()]
            for run in (path, alone)
        ]
        assert files[0] == files[1]
        assert recognizer.load(path).epoch == result.best_epoch
    assert train.train_all(configs(), paths) == results  # finished: does nothing


@pytest.mark.long
def test_what_was_stopped_goes_on_from_where_each_was(
    configs: Callable[..., list[Config]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run stopped after epoch 1, alone, and one has not begun: both end as if uninterrupted."""
    paths = [tmp_path / str(i) for i in range(2)]
    save = train.save

    def save_and_stop(run: Run, seconds: Any) -> None:
        save(run, seconds)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(train, "save", save_and_stop)
        with pytest.raises(Stopped):
            train.train_and_evaluate(configs()[0], paths[0])
    results = train.train_all(configs(), paths)
    assert [result.epochs_run for result in results] == [2, 2]
    for path in paths:
        assert [line["step"] for line in metrics(path)] == [3, 4, 6, 8]


def test_a_directory_that_cannot_be_used_leaves_the_other_runs_alone(
    configs: Callable[..., list[Config]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("foreign", "nothing", "good")]
    paths[0].mkdir()
    (paths[0] / "thesis.txt").write_text("mine")
    first, second = configs(**{"train.epochs": 1})
    data = dataclasses.replace(second.data, dir=str(tmp_path / "no folder"))
    broken = dataclasses.replace(second, data=data)
    with pytest.raises(DataError, match="no folder"):  # the first error
        train.train_all([first, broken, second], paths)
    assert [(path / "result.json").exists() for path in paths] == [False, False, True]
    said = capsys.readouterr().out
    assert f"{paths[0]}: {paths[0]} is not empty" in said
    assert f"{paths[1]}: there is no folder" in said


@pytest.mark.parametrize(("recorded", "stays"), [(None, True), (2, True), (1, False)])
def test_a_run_that_was_trained_beside_others_is_resumed_on_one_device(
    recorded: int | None, stays: bool
) -> None:
    context: Any = SimpleNamespace(images=np.zeros(3), labels=np.zeros(3), devices="two")
    context._replace = lambda **changes: SimpleNamespace(**{**vars(context), **changes})
    directory: Any = SimpleNamespace(num_devices=lambda: recorded)
    ((_, found),) = groups.side_by_side([(directory, context)])
    assert (found.devices == "two") == stays


def test_runs_that_share_nothing_are_prepared_in_their_turn(
    configs: Callable[..., list[Config]], tmp_path: Path
) -> None:
    """The images of only one of them are in memory."""
    events: list[Any] = []

    def prepare(config: Config) -> Any:
        events.append(("prepared", config.seed))
        return SimpleNamespace(records=None)

    unlabeled = [
        dataclasses.replace(c, data=dataclasses.replace(c.data, unlabeled="more"))
        for c in configs()
    ]
    todo: Any = [(SimpleNamespace(workdir=i), config) for i, config in enumerate(unlabeled)]
    for group in groups.turns(todo, prepare, groups.Failures(2)):
        events.append(("trained", len(group)))
    assert events == [("prepared", 3), ("trained", 1), ("prepared", 4), ("trained", 1)]


def test_a_run_that_fails_leaves_the_others_alone(
    configs: Callable[..., list[Config]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(i) for i in range(2)]
    record = train.record_losses

    def spoilt(runs: Any, losses: Any, progress: Any) -> None:
        spoil = np.array([[run.config.seed == 3] for run in runs])
        record(runs, np.where(spoil, np.nan, losses), progress)

    monkeypatch.setattr(train, "record_losses", spoilt)
    with pytest.raises(TrainingError, match="is not finite"):
        train.train_all(configs(), paths)
    assert [(path / "result.json").exists() for path in paths] == [False, True]
    assert (paths[0] / "not_finite.csv").exists()


@pytest.mark.long
def test_patience_ends_one_run_and_not_the_other(
    configs: Callable[..., list[Config]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of seed 3 gets worse after its first epoch, that of seed 4 better."""
    evaluate = TrainContext.evaluate
    seen: dict[int, list[float]] = {3: [], 4: []}

    def told(context: TrainContext, *arguments: Any) -> Any:
        losses = seen[context.config.seed]
        losses.append(2.0 + len(losses) * (0.1 if context.config.seed == 3 else -0.1))
        return evaluate(context, *arguments)._replace(loss=losses[-1])

    monkeypatch.setattr(TrainContext, "evaluate", told)
    paths = [tmp_path / str(i) for i in range(2)]
    results = train.train_all(configs(**{"train.epochs": 4, "train.patience": 2}), paths)
    assert [(result.best_epoch, result.epochs_run) for result in results] == [(1, 3), (4, 4)]


def test_stop_after_ends_runs_side_by_side_and_leaves_their_schedule(
    configs: Callable[..., list[Config]], tmp_path: Path
) -> None:
    paths = [tmp_path / str(i) for i in range(4)]
    short = train.train_all(configs(**{"train.stop_after": 1}), paths[:2])
    assert [result.epochs_run for result in short] == [1, 1]
    train.train_all(configs(), paths[2:])
    for path, whole in zip(paths[:2], paths[2:], strict=True):
        lines, expected = metrics(path), metrics(whole)
        assert [line["step"] for line in lines] == [3, 4]
        for line, other in zip(lines, expected[:2], strict=True):
            assert line.items() - {("seconds", line.get("seconds"))} <= other.items()


def test_a_signal_saves_every_run_and_all_end_bit_identical(
    configs: Callable[..., list[Config]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first of the two calls of epoch 1, and then of epoch 2."""
    whole, cut = ([tmp_path / f"{name}{i}" for i in range(2)] for name in ("whole", "cut"))
    expected = train.train_all(configs(), whole)
    for calls, step in ((1, 2), (2, 6)):
        left = iter(range(calls, -100, -1))

        def steps(self: Progress, count: int, left: Any = left) -> None:
            if next(left) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Progress, "steps", steps)
            with pytest.raises(Interrupted, match=rf"step {step}, .* of 2 runs"):
                train.train_all(configs(), cut)
        assert all((path / "interrupted" / str(step)).is_dir() for path in cut)
    results = train.train_all(configs(), cut)
    assert [r.params_sha256 for r in results] == [r.params_sha256 for r in expected]
    for path, other in zip(cut, whole, strict=True):
        for line, same in zip(metrics(path), metrics(other), strict=True):
            assert {**line, "seconds": 0} == {**same, "seconds": 0}


def test_one_that_stopped_in_an_epoch_ends_it_alone_and_joins_the_other(
    configs: Callable[..., list[Config]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(i) for i in range(2)]
    with monkeypatch.context() as patch:
        signal_once = iter([True])
        patch.setattr(
            Progress,
            "steps",
            lambda self, count: next(signal_once, 0) and os.kill(os.getpid(), signal.SIGTERM),
        )
        with pytest.raises(Interrupted, match="step 2, in epoch 1"):
            train.train_and_evaluate(configs()[0], paths[0])
    abreast, run_epoch = [], train.run_epoch

    def spy(runs: Any, *arguments: Any) -> None:
        abreast.append([run.config.seed for run in runs])
        with jax.transfer_guard("disallow"):  # no implicit transfers to the device
            run_epoch(runs, *arguments)

    monkeypatch.setattr(train, "run_epoch", spy)
    # The run that was stopped in an epoch finishes it first, whatever the order.
    results = train.train_all(configs()[::-1], paths[::-1])
    assert [result.epochs_run for result in results] == [2, 2]
    assert abreast == [[3], [4, 3], [4]]


@pytest.mark.long
def test_a_grid_puts_cells_of_a_variant_together(
    captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tiny.get_config()
    changes = {"data.dir": str(captchas), "train.epochs": 1, "model.lstm_units": (8,), **QUIET}
    values.update_from_flattened_dict(changes)
    variants = {"base": {}, "other": {"optimizer.learning_rate": 0.01}}
    made = grids.Grid(values.to_dict(), variants, seeds=(0, 1, 2), folds=(0,))
    found = sweep._grouped(made.cells(), 2)
    assert [[(c.variant, c.seed) for c in group] for group in found] == [
        [("base", 0), ("base", 1)],
        [("other", 0), ("other", 1)],
        [("base", 2)],
        [("other", 2)],
    ]
    two = grids.Grid(values.to_dict(), {"base": {}}, seeds=(0, 1), folds=(0,))
    assert sweep.run(two, tmp_path, jobs=1, together=2) == []
    assert (
        "training 2 runs in one program"
        in (tmp_path / "base" / "seed0-fold0" / "log.txt").read_text()
    )
    assert "[2/2, 0 min left] base seed 1 fold 0" in capsys.readouterr().out


def test_the_time_of_a_run_begins_after_the_runs_before_it(
    monkeypatch: pytest.MonkeyPatch, configs: Callable[..., list[Config]], tmp_path: Path
) -> None:
    """Runs that cannot train together are trained one after the other."""
    clock = itertools.count()
    starts: list[float] = []

    def resume(directory: Any, context: Any, checkpoints: Any, start: float, allow: bool) -> Any:
        starts.append(start)
        return SimpleNamespace(dir=directory, error=None)

    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(train, "resume", resume)
    monkeypatch.setattr(train, "train", lambda *_: next(clock))
    monkeypatch.setattr(train, "score", lambda run: run)
    both = [configs(**{"train.epochs": epochs})[0] for epochs in (1, 2)]
    train.train_all(both, [tmp_path / "a", tmp_path / "b"])
    assert starts == [0, 2]  # the training of the first took from 0 to 1


def test_a_signal_while_a_run_is_scored_stops_those_after_it(
    monkeypatch: pytest.MonkeyPatch, configs: Callable[..., list[Config]], tmp_path: Path
) -> None:
    def score(run: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return run

    monkeypatch.setattr(
        train, "resume", lambda directory, *_: SimpleNamespace(dir=directory, error=None)
    )
    monkeypatch.setattr(train, "train", lambda *_: None)
    monkeypatch.setattr(train, "score", score)
    both = [configs(**{"train.epochs": epochs})[0] for epochs in (1, 2)]
    with pytest.raises(Interrupted, match="stopped by SIGTERM after 1 of 2 runs"):
        train.train_all(both, [tmp_path / "a", tmp_path / "b"])
    train.train_all(both[:1], [tmp_path / "c"])  # the last one: nothing is left to stop


def test_runs_of_one_group_share_the_images(
    monkeypatch: pytest.MonkeyPatch, configs: Callable[..., list[Config]], tmp_path: Path
) -> None:
    shared: list[Any] = []
    monkeypatch.setattr(train, "_train_group", lambda group, *_: (shared.extend(group), {})[1])
    with pytest.raises(KeyError):  # there is no result
        train.train_all(configs(), [tmp_path / "a", tmp_path / "b"])
    (_, first), (_, second) = shared
    assert first.split.train.tolist() != second.split.train.tolist()
    assert first.data is second.data
    assert first.images is second.images
    assert first.labels is second.labels
