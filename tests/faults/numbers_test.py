"""Values that are not finite: a gradient that is not finite shows in the next loss."""

import csv
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.data import batching
from crnn_jax.errors import RunError, TrainingError
from crnn_jax.inference import recognizer
from crnn_jax.models import crnn
from crnn_jax.models import ctc_loss as ctc
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runtime import signals
from crnn_jax.training import step, train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.interrupting import interrupt_after
from tests.helpers.quiet import QUIET


def test_a_gradient_that_is_no_number_ends_the_run_and_leaves_the_last_good_checkpoint(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of step 8 is finite, but its gradient is not: d/dx sqrt(0 x) is 0 times inf."""
    config = tiny_config({**QUIET, "train.epochs": 3, "log.every_steps": 100})
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(6, signal.SIGTERM, patch)  # epoch 1 (five steps) is saved, and step 6
        with pytest.raises(signals.Interrupted):
            train.train_and_evaluate(config, run)
    context = prepare(config)
    order = batching.epoch_order(context.split.train, config.seed, 2)
    poison = jnp.asarray(context.labels[order[20]])  # in the third batch of eight
    real = ctc.ctc_loss

    def ctc_loss(logits: Any, labels: Any) -> Any:
        loss = real(logits, labels)
        if labels.shape[1] != len(poison):
            return loss
        same = (labels == poison[None]).all(-1)
        return loss + jnp.where(same, jnp.sqrt(jnp.where(same, 0 * logits.sum((1, 2)), 1.0)), 0.0)

    monkeypatch.setattr(ctc, "ctc_loss", ctc_loss)
    # Traced again, and not cached for other tests.
    monkeypatch.setattr(step, "_jitted", step._jitted.__wrapped__)
    with pytest.raises(TrainingError, match=r"step 9 is not finite.*images of steps 8 to 9 are"):
        train.train_and_evaluate(config, run)
    with (run / "not_finite.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [(str(8 + (n >= 24)), context.data.files[order[n]]) for n in range(16, 32)]
    assert [(row["step"], row["file"]) for row in rows] == expected
    reader = recognizer.load(run)
    assert reader.epoch == 1
    assert all(np.isfinite(array).all() for array in crnn.by_name(reader.params).values())


def test_weights_that_are_not_finite_are_refused(trained: Path, tmp_path: Path) -> None:
    """They would silently read every image as empty."""
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("reader.safetensors"))
    reader = recognizer.load(run)
    broken = jax.tree.map(lambda leaf: leaf, reader.params)
    layer, name = next((k, n) for k, v in broken.items() for n in v if n == "bias")
    broken[layer][name] = broken[layer][name].at[0].set(np.nan)
    with Checkpoints(run / "checkpoints") as checkpoints:
        newest = (checkpoints.latest_epoch() or 0) + 1
        meta = {**checkpoints.meta(reader.epoch), "best_epoch": newest}
        checkpoints.save(newest, broken, None, meta, newest)
    place = re.escape(str(run / "checkpoints" / str(newest)))
    with pytest.raises(RunError, match=rf"^the checkpoint {place}: {layer}/bias .*not finite"):
        recognizer.load(run)
    assert recognizer.load(run, reader.epoch).epoch == reader.epoch  # can be read
