"""The content of a checkpoint, by the names of the first version."""

import json
import signal
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import signals
from crnn_jax.training import resume, train
from crnn_jax.training.context import prepare
from crnn_jax.training.early_stopping import Stopping
from crnn_jax.training.state import init_state
from tests.helpers.fixtures import MakeConfig
from tests.helpers.interrupting import interrupt_after


class Guide(NamedTuple):
    """The flat start, named as in the first version."""

    loss: jax.Array
    share: jax.Array


def test_a_checkpoint_with_the_names_of_the_first_version_continues(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    context = prepare(tiny_config())
    fresh = init_state(context)
    average = jax.tree.map(lambda leaf: leaf + 1, fresh.params)
    training = {
        "step": jnp.int32(5),
        "params": fresh.params,
        "opt_state": fresh.opt_state,
        "guide": Guide(jnp.float32(0.25), jnp.float32(0.5)),
    }
    meta = {**context.identity(), **Stopping(best_epoch=1)._asdict(), "seconds": 7.0}
    directory = RunDir(tmp_path)
    with Checkpoints(directory.checkpoints) as checkpoints:
        resume.resume(directory, context, checkpoints, 0.0, False)  # writes environment.json
        checkpoints.save(1, average, training, meta, 1)
        run = resume.resume(directory, context, checkpoints, 100.0, False)
    assert (run.epoch, run.step, run.started_at) == (1, 5, 93.0)
    assert int(run.state.step) == 5
    assert tuple(map(float, run.state.flat_start)) == (0.25, 0.5)
    assert float(run.state.flat_start.weight) == 0.5
    jax.tree.map(np.testing.assert_array_equal, run.ema, average)
    jax.tree.map(np.testing.assert_array_equal, run.state.params, fresh.params)


def test_a_saved_run_has_these_names_and_is_restored_to_the_same_state(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    context = prepare(tiny_config())
    directory = RunDir(tmp_path)
    with Checkpoints(directory.checkpoints) as checkpoints:
        run = resume.resume(directory, context, checkpoints, 0.0, False)
        flat_start = run.state.flat_start._replace(weight=jnp.float32(0.125))
        run.state = run.state._replace(step=jnp.int32(5), flat_start=flat_start)
        run.epoch, run.stopping = 1, Stopping(best_epoch=1, best_loss=2.0, left_plateau=1)
        resume.save(run, 3.0)
        names = resume.to_trees(run.state)["training"]
        assert set(names) == {"step", "params", "opt_state", "guide"}
        assert set(names["guide"]) == {"loss", "share"}
        again = resume.resume(directory, context, checkpoints, 0.0, False)
    assert (again.epoch, again.stopping) == (run.epoch, run.stopping)
    jax.tree.map(np.testing.assert_array_equal, again.state, run.state)


def test_an_import_is_not_trained_on(tiny_config: MakeConfig, tmp_path: Path) -> None:
    context = prepare(tiny_config())
    directory = RunDir(tmp_path)
    meta = {**context.identity(), **Stopping()._asdict(), "seconds": 0.0}
    with Checkpoints(directory.checkpoints) as checkpoints:
        checkpoints.save(0, init_state(context).params, None, meta, 0)
        with pytest.raises(resume.RunError, match=r"imported.*train\.init_from"):
            resume.resume(directory, context, checkpoints, 0.0, False)


@pytest.mark.long
def test_a_run_directory_with_old_names_of_keys_goes_on(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run whose config.json was written before keys were renamed."""
    config = tiny_config(
        train__epochs=2,
        train__ema_decay=0.9,
        train__checkpoint_selection="last",
        data__normalize="image",
    )
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    run = tmp_path / "run"
    interrupt_after(6, signal.SIGTERM, monkeypatch)  # in the second epoch
    with pytest.raises(signals.Interrupted):
        train.train_and_evaluate(config, run)
    monkeypatch.undo()
    values = json.loads((run / "config.json").read_text())
    data, training = values["data"], values["train"]
    assert (data.pop("normalize"), training.pop("ema_decay")) == ("image", 0.9)
    assert training.pop("checkpoint_selection") == "last"
    assert training.pop("min_steps_per_epoch") == 0
    data["standardise"] = "picture"
    training |= {"average_decay": 0.9, "weights": "last", "least_steps": 0}
    (run / "config.json").write_text(json.dumps(values, indent=2))
    resumed = train.train_and_evaluate(config, run)
    assert resumed.params_sha256 == whole.params_sha256
    assert "standardise" not in (run / "config.json").read_text()
