"""The training images of a run, and their order."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from crnn_jax.charset import PAD
from crnn_jax.inference import calibration
from crnn_jax.models import crnn
from crnn_jax.training import train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE


def test_an_epoch_passes_over_a_small_set_as_often_as_it_takes(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config(BARE, train__min_steps_per_epoch=12, train__batch_size=8, train__epochs=2)
    context = prepare(config)
    # 36 images: twelve steps of eight need 96, so three passes over 36, which are 14 steps.
    assert context.steps_per_epoch == 14
    first, second = context.order(1), context.order(2)
    for order in (first, second):
        assert len(order) == 3 * 36
        for k in range(3):
            assert sorted(order[36 * k : 36 * (k + 1)]) == sorted(context.split.train)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[:36], first[36:72])
    assert train.train_and_evaluate(config, tmp_path).epochs_run == 2
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if "val_loss" in line] == [14, 28]
    # Already enough steps: 36 images in batches of eight are five.
    assert (
        prepare(tiny_config(train__min_steps_per_epoch=5, train__batch_size=8)).steps_per_epoch == 5
    )


def test_a_small_set_gets_more_epochs(tiny_config: MakeConfig, tmp_path: Path) -> None:
    # 36 images in batches of eight are five steps an epoch.
    for min_steps, epochs in ((0, 2), (10, 2), (11, 3), (16, 4)):
        context = prepare(
            tiny_config(train__batch_size=8, train__epochs=2, train__min_steps=min_steps)
        )
        assert context.num_epochs == epochs
        # The schedule ends with the last epoch.
        assert context.pace.num_steps == 5 * epochs
        assert prepare(tiny_config(train__patience=0, train__min_steps=min_steps)).patience == 0
    # A patience of 3 for two epochs is one of 6 for four.
    config = tiny_config(
        train__batch_size=8, train__epochs=2, train__min_steps=16, train__patience=3
    )
    assert prepare(config).patience == 6
    config = tiny_config(BARE, train__batch_size=8, train__epochs=1, train__min_steps=6)
    assert train.train_and_evaluate(config, tmp_path).epochs_run == 2


def test_a_label_with_an_unknown_symbol_does_not_calibrate(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is encoded without the symbol, and a reading of the rest would count as right."""
    context = prepare(tiny_config())
    params = crnn.init(context.model, jax.random.key(0), context.config.data)
    unknown, *others = context.split.val.tolist()
    data = context.data
    texts = list(data.texts)
    texts[unknown] += "Q"
    seen = []

    def fit(logits: np.ndarray, labels: np.ndarray) -> float:
        decoded = [context.charset.decode([k for k in row if k != PAD]) for row in labels.tolist()]
        seen.append((len(logits), decoded))
        return 2.0

    monkeypatch.setattr(calibration, "fit_temperature", fit)
    changed = context._replace(data=dataclasses.replace(data, texts=tuple(texts)))
    assert changed.calibrate(params)[0] == 2
    assert context.calibrate(params)[0] == 2
    known = [data.texts[i] for i in others]
    assert seen == [(len(known), known), (len(known) + 1, [data.texts[unknown], *known])]
    none = dataclasses.replace(data, texts=("Q",) * len(texts))
    assert context._replace(data=none).calibrate(params)[0] == 1
