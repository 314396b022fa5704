"""How a run adjusts to few labels, and to labels with new symbols."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import crnn_jax
from crnn_jax.errors import RunError
from crnn_jax.models import crnn
from crnn_jax.training import optimizer, run_logging, step, train, warm_start
from crnn_jax.training.context import prepare
from tests.helpers.images import draw
from tests.helpers.quiet import QUIET


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs it trains a run that keeps some of its reader."""
    return tmp_path_factory.mktemp("few_labels") / "kept"


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
        context = prepare(like_trained(**changes))
        params = {"w": jnp.ones(3)}
        tx = optimizer.build(context.config.optimizer, context.pace)
        found, _ = tx.update({"w": jnp.full(3, 0.5)}, tx.init(params), params)
        return float(found["w"][0]), len(context.split.train)

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


def test_folds_of_other_sizes_share_a_step_and_have_their_own_rates(
    like_trained: Any, trained: Path
) -> None:
    both = [
        prepare(
            like_trained(
                train__init_from=str(trained), train__half_rate_labels=5, data__train_size=size
            )
        )
        for size in (20, 21)
    ]
    assert step.recipe(both[0]) == step.recipe(both[1])
    rates = [float(step.constants(context).pace.peak) for context in both]
    # n^2 / (n^2 + 5^2)
    assert rates[0] / rates[1] == pytest.approx((400 / 425) / (441 / 466))


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


def _few(trained: Path) -> dict[str, Any]:
    """Changes of a run of two epochs with 20 labels, which starts from the run `trained`."""
    start = {"train__init_from": str(trained), "data__train_size": 20, "train__epochs": 2}
    return {**start, **QUIET}


def test_few_labels_keep_some_of_the_reader(
    like_trained: Any, trained: Path, kept: Path, tmp_path: Path
) -> None:
    """The EMA is affine, so the kept weights are a mean of the start and of the usual EMA."""
    start = _few(trained)
    folders = [tmp_path / "usual", kept]
    changes = {**start, "train__half_way_labels": 60}  # 20 / (20 + 60)
    train.train_and_evaluate(like_trained(**start), folders[0])
    train.train_and_evaluate(like_trained(**changes), folders[1])
    before, usual, mean = (
        crnn.by_name(crnn_jax.load(run, epoch).params)
        for run, epoch in ((trained, None), (folders[0], 2), (folders[1], 2))
    )
    for name in before:
        wanted = 0.75 * np.asarray(before[name]) + 0.25 * np.asarray(usual[name])
        np.testing.assert_allclose(mean[name], wanted, atol=2e-6)
    assert prepare(like_trained(**start)).trained_share == 1
    assert prepare(like_trained(train__half_way_labels=60)).trained_share == 1  # from scratch
    rest = {**changes, "train__init_from": str(trained), "data__unlabeled": "rest"}
    assert prepare(like_trained(**rest)).trained_share == 1
    for text in ("abc", "bca", "cad", "dab"):
        draw(text).save(tmp_path / f"{text}.png")
    new = {**changes, "data__dir": str(tmp_path), "data__train_size": 0}
    assert prepare(like_trained(**new)).trained_share == 1  # d is new


def test_a_run_that_keeps_some_of_the_reader_continues_bit_for_bit(
    like_trained: Any, trained: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = like_trained(**_few(trained), train__half_way_labels=60)
    whole = train.train_and_evaluate(config, kept)
    save = train.save

    def save_and_stop(*arguments: Any) -> None:  # after the first of two epochs
        save(*arguments)
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


def test_symbols_and_images_that_are_no_labels_do_not_count(
    like_trained: Any, trained: Path
) -> None:
    """Neither digits of data.complete_alphabet nor generated images."""
    start = {"train__init_from": str(trained), "train__epochs_for_new_symbols": 5}
    more = {"data__alphabet": "7abc0123456"}
    assert prepare(like_trained(**start, **more)).num_epochs == prepare(like_trained()).num_epochs
    context = prepare(
        like_trained(
            train__init_from=str(trained), train__half_way_labels=4, data__source="mixture",
            data__alphabet="", data__generated_share=0.5,
        )
    )  # fmt: skip
    real = len(context.split.train) // 2
    assert context.trained_share == pytest.approx(real / (real + 4))
