import shutil

import jax
import numpy as np
import pytest
from conftest import draw

import crnn_jax
from crnn_jax import train, warm_start
from crnn_jax.charset import Charset
from crnn_jax.errors import RunError
from crnn_jax.task import prepare


@pytest.fixture(scope="module")
def reader(trained):
    return crnn_jax.load(trained)


def test_columns_go_with_their_symbols(tiny_config, trained, reader):
    assert reader.charset.alphabet == "7abc"
    config = tiny_config()
    task = prepare(config)
    fresh = train.init_state(task, config).params
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


def test_a_run_starts_where_the_other_ended_and_without_a_flat_start(
    tiny_config, trained, reader, tmp_path, monkeypatch
):
    config = tiny_config(
        train__init_from=str(trained), train__epochs=1, optimizer__learning_rate=1e-9
    )
    result = train.train_and_evaluate(config, tmp_path / "run")
    before = reader.evaluate().evaluation
    assert result.val_loss == pytest.approx(before.loss, rel=1e-3)
    assert result.num_exact == before.scores.num_exact
    # What is gone does not matter to a run that has begun.
    (tmp_path / "run" / "result.json").unlink()
    monkeypatch.setattr(warm_start, "transfer", None)
    assert train.train_and_evaluate(config, tmp_path / "run").val_loss == result.val_loss


def test_a_run_of_other_sizes_is_refused_before_training(tiny_config, trained, tmp_path):
    config = tiny_config(train__init_from=str(trained), model__dense_features=17)
    with pytest.raises(RunError, match=r"backward_kernel is \(16, 64\) in .* and \(17, 64\) here"):
        train.train_and_evaluate(config, tmp_path / "run")
    with pytest.raises(RunError, match="not a run directory"):
        train.train_and_evaluate(tiny_config(train__init_from=str(tmp_path)), tmp_path / "other")


def test_a_set_with_a_new_symbol_is_learnt_from_there(tiny_config, trained, captchas, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(captchas, folder)
    for text in ("x7", "ax", "bxa", "cx7", "xab", "xc"):
        draw(text).save(folder / f"{text}.png")
    config = tiny_config(data__dir=str(folder), train__init_from=str(trained), train__epochs=1)
    result = train.train_and_evaluate(config, tmp_path / "run")
    assert crnn_jax.load(tmp_path / "run").charset.alphabet == "7abcx"
    assert result.epochs_run == 1
