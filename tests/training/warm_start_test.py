import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crnn_jax
from crnn_jax.charset import Charset
from crnn_jax.data import sources
from crnn_jax.errors import RunError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn
from crnn_jax.runs import run_dir
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import resume, run_logging, train, warm_start
from crnn_jax.training import state as state_lib
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw


@pytest.fixture
def like_trained(tiny_config: MakeConfig) -> Any:
    """`tiny_config` with the sizes of the run `trained`."""

    def make(**changes: Any) -> Any:
        return tiny_config({"model.lstm_units": (16, 8)}, **changes)

    return make


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


def test_columns_go_with_their_symbols(
    like_trained: Any, trained: Path, reader: Recognizer
) -> None:
    assert reader.charset.alphabet == "7abc"
    config = like_trained()
    task = prepare(config)
    fresh = state_lib.init_state(task).params
    wider = jax.tree.map(lambda x: x, fresh)
    wider["dense2"] = {
        "kernel": np.random.default_rng(0).normal(size=(16, 6)),  # c, x, a, 7, b and the blank
        "bias": np.arange(6.0),
    }
    wider = jax.tree.map(jax.numpy.asarray, wider)
    params = warm_start.transfer(wider, Charset("cxa7b"), trained)
    for name in ("kernel", "bias"):
        old, new = (np.asarray(p["dense2"][name]) for p in (reader.params, params))
        np.testing.assert_array_equal(new[..., [3, 2, 4, 0, 5]], old[..., [0, 1, 2, 3, 4]])
        np.testing.assert_array_equal(new[..., 1], np.asarray(wider["dense2"][name])[..., 1])
    for layer in ("Conv1", "bidirectional", "dense1"):
        jax.tree.map(np.testing.assert_array_equal, params[layer], reader.params[layer])


def test_the_second_column_of_a_letter_is_that_of_its_other_case(
    like_trained: Any, trained: Path, reader: Recognizer
) -> None:
    """7abc there; C, A, 7 and the blank here, then c and a."""
    config = like_trained()
    charset = Charset("CA7", other_cases="ca")
    fresh = crnn.init(
        crnn.build(config.model, charset, [0.0], [1.0], False), jax.random.key(0), config.data
    )
    params = warm_start.transfer(fresh, charset, trained)
    for name in ("kernel", "bias"):
        old, new = (np.asarray(p["dense2"][name]) for p in (reader.params, params))
        np.testing.assert_array_equal(new[..., [2, 3, 4, 5]], old[..., [0, 4, 3, 1]])
        np.testing.assert_array_equal(new[..., :2], np.asarray(fresh["dense2"][name])[..., :2])


def test_a_reader_of_small_letters_reads_labels_in_capitals(
    like_trained: Any, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hardly trained further, it reads what it read before."""
    before = run_dir.RunDir(trained).result()
    assert before
    config = like_trained(
        train__init_from=str(trained),
        train__epochs=1,
        train__detect_case=True,
        optimizer__learning_rate=1e-9,
        data__case="upper",
    )
    assert train.train_and_evaluate(config, tmp_path).num_exact == before.num_exact > 0
    adapted = crnn_jax.load(tmp_path).charset
    assert (adapted.alphabet, adapted.other_cases) == ("7ABC", "abc")
    assert "so abc are recognized, too" in capsys.readouterr().out


@pytest.mark.parametrize(("capitals", "expected"), [(0, ""), (3, ""), (4, "abc"), (40, "abc")])
def test_labels_ignore_case_if_a_tenth_of_the_readings_differs_in_case(
    like_trained: Any, trained: Path, capitals: int, expected: str
) -> None:
    """40 labels that are the readings, some of them in capitals, and 10 wrong labels."""
    task = prepare(like_trained())
    images = np.repeat(np.asarray(task.images)[:1], 50, axis=0)
    reading = crnn_jax.load(trained).predict(list(images[:1].transpose(0, 2, 1, 3)))[0].text
    assert set(reading) & set("abc")
    texts = [reading.upper()] * capitals + [reading] * (40 - capitals) + [reading + "7"] * 10
    charset = Charset("7ABC")
    found = warm_start.with_other_cases(charset, images, texts, trained, 8)
    assert found == Charset("7ABC", other_cases=expected)


def test_a_stream_starts_from_a_reader_too(
    like_trained: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has more images than are in memory. Its labels have both cases of no letter."""
    monkeypatch.setattr(sources, "SAMPLE", 8)
    stream = {"data__source": "stream", "data__count": 20, "data__val_fraction": 0.1}
    start = {"train__init_from": str(trained), "train__detect_case": True}
    task = prepare(like_trained(**stream, **start, data__alphabet=""))
    assert len(task.split.train) == 18 > len(task.images) == 10
    assert task.charset.other_cases == ""


def test_a_reader_without_the_other_case_adds_none(like_trained: Any, trained: Path) -> None:
    """It has no D, and images of another height are left to the message of `transfer`."""
    images = np.asarray(prepare(like_trained()).images)[:4]
    texts = ["D"] * 4
    charset = Charset("7DE")
    assert warm_start.with_other_cases(charset, images, texts, trained, 8) is charset
    other = Charset("7ABC")
    assert warm_start.with_other_cases(other, images[:, :, :8], texts, trained, 8) is other


def test_a_run_starts_where_the_other_ended_and_without_a_flat_start(
    like_trained: Any,
    trained: Path,
    reader: Recognizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = like_trained(train__init_from=str(trained))
    task = prepare(config)
    assert float(state_lib.init_state(task).flat_start.weight) == 1
    directory = run_dir.RunDir(tmp_path)
    with Checkpoints(directory.checkpoints) as checkpoints:
        run = resume.resume(directory, task, checkpoints, 0.0, False)
        for params in (run.state.params, run.ema):
            jax.tree.map(np.testing.assert_array_equal, params, reader.params)
        assert (float(run.state.flat_start.weight), run.epoch) == (0, 0)
        # A run that has begun does not need it any more.
        run.epoch, run.stopping = 1, run.stopping._replace(best_epoch=1)
        resume.save(run, 0.0)
        monkeypatch.setattr(warm_start, "transfer", None)
        run = resume.resume(directory, task, checkpoints, 0.0, False)
        jax.tree.map(np.testing.assert_array_equal, run.state.params, reader.params)
        assert run.epoch == 1


def test_a_run_of_other_sizes_is_refused_before_training(
    like_trained: Any, trained: Path, tmp_path: Path
) -> None:
    config = like_trained(train__init_from=str(trained), model__dense_features=17)
    with pytest.raises(RunError, match=r"backward_kernel is \(16, 64\) in .* and \(17, 64\) here"):
        train.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(RunError, match="not a run directory"):
        train.train_and_evaluate(like_trained(train__init_from=str(tmp_path)), tmp_path / "other")


def test_images_of_another_size_are_named_with_the_remedy(
    like_trained: Any, trained: Path, tmp_path: Path
) -> None:
    """The directory stays free for the command with the remedy."""
    start = {"train__init_from": str(trained), "train__epochs": 1}
    config = like_trained(**start, data__width=128, data__height=32)
    with pytest.raises(RunError) as error:
        train.train_and_evaluate(config, tmp_path / "run")
    said = str(error.value)
    assert "64x16 there and 128x32 here" in said
    assert "train with --config.data.height=16" in said  # any width will do
    assert "--config.model" not in said
    with pytest.raises(RunError, match=r"train with --config\.model\.lstm_units='\(16, 8\)'"):
        train.train_and_evaluate(like_trained(**start, model__lstm_units=(24, 8)), tmp_path / "run")
    assert train.train_and_evaluate(like_trained(**start), tmp_path / "run").epochs_run == 1


@pytest.mark.parametrize("error", [OSError(5, "no disk"), RuntimeError("XLA"), KeyboardInterrupt()])
def test_a_start_that_fails_in_any_way_claims_no_directory(
    like_trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(train, "resume", fail)
        with pytest.raises((type(error), RunError)):
            train.train_and_evaluate(like_trained(), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_new_symbols_get_more_epochs(like_trained: Any, trained: Path, tmp_path: Path) -> None:
    for text in ("abc", "bca", "cad", "dab"):
        draw(text).save(tmp_path / f"{text}.png")
    changes = {"train__epochs": 2, "train__epochs_for_new_symbols": 5}
    adapted = {**changes, "train__init_from": str(trained)}
    assert prepare(like_trained(**adapted)).num_epochs == 2  # 7abc
    new = {"data__dir": str(tmp_path)}
    assert prepare(like_trained(**adapted, **new)).num_epochs == 5
    off = {**adapted, **new, "train__epochs_for_new_symbols": 0}
    assert prepare(like_trained(**off)).num_epochs == 2
    assert prepare(like_trained(**changes, **new)).num_epochs == 2  # from scratch


def test_few_labels_get_a_lower_rate(like_trained: Any, trained: Path, tmp_path: Path) -> None:
    """The first update is proportional to the rate, for each optimizer of the recipe."""

    def update(**changes: Any) -> tuple[float, int]:
        task = prepare(like_trained(**changes))
        params = {"w": jnp.ones(3)}
        state = task.optimizer.init(params)
        found, _ = task.optimizer.update({"w": jnp.full(3, 0.5)}, state, params)
        return float(found["w"][0]), len(task.split.train)

    start = {"train__init_from": str(trained)}
    whole, count = update(**start)
    half, _ = update(**start, train__half_rate_labels=count)
    assert half == pytest.approx(whole / 2)
    fifth, _ = update(**start, train__half_rate_labels=2 * count)  # 1 / (1 + 2 * 2)
    assert fifth == pytest.approx(whole / 5)
    # Not from scratch, not with images without labels, and not with new symbols.
    assert update(train__half_rate_labels=count)[0] == pytest.approx(whole)
    for text in ("abc", "bca", "cad", "dab"):
        draw(text).save(tmp_path / f"{text}.png")
    new = {**start, "data__dir": str(tmp_path)}
    assert update(**new, train__half_rate_labels=4)[0] == pytest.approx(update(**new)[0])
    rest = {**start, "data__train_size": 8, "data__unlabeled": "rest"}
    assert update(**rest, train__half_rate_labels=8)[0] == pytest.approx(update(**rest)[0])


def test_folds_of_other_sizes_have_other_rates(like_trained: Any, trained: Path) -> None:
    """So they cannot share a compiled step."""
    both = [
        prepare(
            like_trained(
                train__init_from=str(trained), train__half_rate_labels=5, data__train_size=size
            )
        )
        for size in (20, 21)
    ]
    assert both[0].alike() != both[1].alike()
    assert both[0].optimizer is not both[1].optimizer


def test_a_lower_rate_is_said(
    like_trained: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = {"train__init_from": str(trained), "data__train_size": 20}
    changes = {**start, "optimizer__learning_rate": 0.01, "train__half_rate_labels": 20}
    run_logging.announce(prepare(like_trained(**changes)))
    assert (
        "note: the learning rate is 0.005, because there are few labels" in capsys.readouterr().out
    )
    run_logging.announce(prepare(like_trained(**start)))
    assert "learning rate" not in capsys.readouterr().out


def test_few_labels_keep_some_of_the_reader(
    like_trained: Any, trained: Path, tmp_path: Path
) -> None:
    """The EMA is affine, so the kept weights are a mean of the start and of the usual EMA."""
    start = {"train__init_from": str(trained), "data__train_size": 20, "train__epochs": 2}
    folders = [tmp_path / name for name in ("usual", "kept")]
    changes = {**start, "train__half_way_labels": 60}  # 20 / (20 + 60)
    train.train_and_evaluate(like_trained(**start), folders[0])
    train.train_and_evaluate(like_trained(**changes), folders[1])
    before, usual, kept = (
        crnn.by_name(crnn_jax.load(run, epoch).params)
        for run, epoch in ((trained, None), (folders[0], 2), (folders[1], 2))
    )
    for name in before:
        wanted = 0.75 * np.asarray(before[name]) + 0.25 * np.asarray(usual[name])
        np.testing.assert_allclose(kept[name], wanted, atol=2e-6)
    assert prepare(like_trained(**start)).trained_share == 1
    assert prepare(like_trained(train__half_way_labels=60)).trained_share == 1  # from scratch
    rest = {**changes, "train__init_from": str(trained), "data__unlabeled": "rest"}
    assert prepare(like_trained(**rest)).trained_share == 1
    for text in ("abc", "bca", "cad", "dab"):
        draw(text).save(tmp_path / f"{text}.png")
    new = {**changes, "data__dir": str(tmp_path), "data__train_size": 0}
    assert prepare(like_trained(**new)).trained_share == 1  # d is new


def test_a_run_that_keeps_some_of_the_reader_continues_bit_for_bit(
    like_trained: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "train__init_from": str(trained), "data__train_size": 20, "train__epochs": 3,
        "train__half_way_labels": 20,
    }  # fmt: skip
    config = like_trained(**changes)
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    save, count = train.save, [0]

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(config, tmp_path / "cut")
    monkeypatch.setattr(train, "save", save)
    with monkeypatch.context() as changed:  # the run that it starts from was trained further
        changed.setattr(warm_start, "digest", lambda _: 64 * "0")
        with pytest.raises(RunError, match=r"train\.init_from"):
            train.train_and_evaluate(config, tmp_path / "cut")
    cut = train.train_and_evaluate(config, tmp_path / "cut")
    assert cut.params_sha256 == whole.params_sha256


def test_a_reader_that_ignores_case_keeps_its_letters(
    monkeypatch: pytest.MonkeyPatch, like_trained: Any, reader: Recognizer
) -> None:
    """Its readings are in one case, so they cannot tell whether labels ignore case."""
    charset = dataclasses.replace(reader.charset, other_cases="ABC")
    adapted = SimpleNamespace(charset=charset, config=reader.config)
    monkeypatch.setattr(warm_start.recognizer, "load", lambda run: adapted)
    images = np.asarray(prepare(like_trained()).images)[:4]
    for alphabet, others in (("7abc", "ABC"), ("7ABC", "abc"), ("7aBb", "A"), ("7de", "")):
        found = warm_start.with_other_cases(Charset(alphabet), images, ["7"] * 4, "run", 8)
        assert found == Charset(alphabet, other_cases=others)
    assert warm_start.unknown("7aAdD", "run") == "dD"


def test_symbols_and_images_that_are_no_labels_do_not_count(
    like_trained: Any, trained: Path
) -> None:
    """Neither digits of data.complete_alphabet nor generated images."""
    start = {"train__init_from": str(trained), "train__epochs_for_new_symbols": 5}
    more = {"data__alphabet": "7abc0123456"}
    assert prepare(like_trained(**start, **more)).num_epochs == prepare(like_trained()).num_epochs
    task = prepare(
        like_trained(
            train__init_from=str(trained), train__half_way_labels=4, data__source="mixture",
            data__alphabet="", data__generated_share=0.5,
        )
    )  # fmt: skip
    real = len(task.split.train) // 2
    assert task.trained_share == pytest.approx(real / (real + 4))
