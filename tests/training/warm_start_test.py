from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from crnn_jax.charset import Charset
from crnn_jax.errors import RunError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runs import run_dir
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import resume, train, warm_start
from crnn_jax.training import state as state_lib
from crnn_jax.training.context import prepare


def test_columns_go_with_their_symbols(
    like_trained: Any, trained: Path, reader: Recognizer
) -> None:
    assert reader.charset.alphabet == "7abc"
    config = like_trained()
    context = prepare(config)
    fresh = state_lib.init_state(context).params
    wider = jax.tree.map(lambda x: x, fresh)
    wider["dense2"] = {
        "kernel": np.random.default_rng(0).normal(size=(16, 6)),  # c, x, a, 7, b and the blank
        "bias": np.arange(6.0),
    }
    wider = jax.tree.map(jax.numpy.asarray, wider)
    params = warm_start.transfer(wider, Charset("cxa7b"), warm_start.Origin(trained))
    for name in ("kernel", "bias"):
        old, new = (np.asarray(p["dense2"][name]) for p in (reader.params, params))
        np.testing.assert_array_equal(new[..., [3, 2, 4, 0, 5]], old[..., [0, 1, 2, 3, 4]])
        np.testing.assert_array_equal(new[..., 1], np.asarray(wider["dense2"][name])[..., 1])
    for layer in ("Conv1", "bidirectional", "dense1"):
        jax.tree.map(np.testing.assert_array_equal, params[layer], reader.params[layer])


def test_a_run_of_another_width_than_its_reader_s_is_told(
    like_trained: Any, trained: Path, reader: Recognizer
) -> None:
    origin = warm_start.Origin(trained)
    assert warm_start.other_width(origin, like_trained()) == ""
    said = warm_start.other_width(origin, like_trained(data__width=48))
    assert "reads images at 64x16 pixels, and this run at 48x16" in said
    assert "--config.data.width=64" in said
    origin.reader.width_by_image = True
    assert warm_start.other_width(origin, like_trained(data__width=48)) == ""


def test_a_run_starts_where_the_other_ended_and_without_a_flat_start(
    like_trained: Any,
    trained: Path,
    reader: Recognizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = like_trained(train__init_from=str(trained))
    context = prepare(config)
    assert float(state_lib.init_state(context).flat_start.weight) == 1
    directory = run_dir.RunDir(tmp_path)
    with Checkpoints(directory.checkpoints) as checkpoints:
        run = resume.resume(directory, context, checkpoints, 0.0, False)
        assert "note:" not in capsys.readouterr().out  # of another width
        for params in (run.state.params, run.ema):
            jax.tree.map(np.testing.assert_array_equal, params, reader.params)
        assert (float(run.state.flat_start.weight), run.epoch) == (0, 0)
        # A run that has begun does not need it any more.
        run.epoch, run.stopping = 1, run.stopping._replace(best_epoch=1)
        resume.save(run, 0.0)
        monkeypatch.setattr(warm_start, "transfer", None)
        run = resume.resume(directory, context, checkpoints, 0.0, False)
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
    assert "images are 64x16 in that run and 128x32 in this one" in said
    assert "train with --config.data.height=16" in said  # any width will do
    assert "--config.model" not in said
    with pytest.raises(RunError, match=r"train with --config\.model\.lstm_units='\(16, 8\)'"):
        train.train_and_evaluate(like_trained(**start, model__lstm_units=(24, 8)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
