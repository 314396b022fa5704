"""Pseudo-labels: which readings of unlabeled images an epoch is trained on."""

import signal
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.inference import evaluate
from crnn_jax.inference.evaluate import Reading
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime.signals import Interrupted, SignalWatcher
from crnn_jax.training import self_training
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig


def _readings(*pairs: Any) -> Any:
    return [Reading(text, confidence) for text, confidence in pairs]


def test_confident_readings_of_a_known_length_are_chosen() -> None:
    readings = _readings(("abc", 0.95), ("abcd", 0.99), ("ab", 0.9), ("", 1.0), ("xyz", 0.5))
    # Labels have two or three symbols; a new symbol does not rule out a reading.
    assert self_training.choose(readings, ["aaa", "bb"], 0.9) == [0, 2]


def test_without_labels_rare_lengths_and_symbols_are_misreadings() -> None:
    sure = [("1234567890", 0.99)] * 9 + [("12345", 0.95), ("123456789Z", 0.94)]
    readings = _readings(*sure, *[("77777", 0.3)] * 11)
    # The more confident 11 of 22: lengths 10 (ten times) and 5 (once, less than half of that). In
    # all 22, 160 symbols, 11 different ones, Z once: an average of 14.5, a twentieth of which is
    # 0.7, so Z may stay.
    assert self_training.choose(readings, [], 0.9) == [*range(9), 10]
    # 30 more of each: 610 symbols, an average of 55, a twentieth of which is 2.8. Z is a
    # misreading.
    more = _readings(*[("1234567890", 0.99)] * 30, *sure, *[("77777", 0.3)] * 41)
    assert self_training.choose(more, [], 0.9) == list(range(39))


def test_a_symbol_that_is_never_read_with_confidence_is_not_left_out() -> None:
    sure, unsure = [("ab", 0.95)] * 8, [("lb", 0.7)] * 6
    # The confidences of the readings with a symbol add up to 7.6 for a, 11.8 for b, and 4.2 for l,
    # which is more than half their mean, so l is no misreading. 8 of 14 readings are confident, and
    # half of this share of the 6 readings with l is 1.7, so two of them are chosen too.
    assert self_training.choose(_readings(*unsure, *sure), [], 0.9) == [0, 1, *range(6, 14)]
    # With labels, which have all symbols, only the confident ones.
    assert self_training.choose(_readings(*unsure, *sure), ["ab"], 0.9) == list(range(6, 14))
    # With four readings at 0.5, the sums are 7.6, 9.6 and 2, which is less than half the mean.
    unsure = [("lb", 0.5)] * 4
    assert self_training.choose(_readings(*unsure, *sure), [], 0.9) == list(range(4, 12))


def test_a_tenth_is_chosen_however_unsure() -> None:
    readings = _readings(*[("abc", 0.01 * i) for i in range(25)])
    assert self_training.choose(readings, ["abc"], 0.9) == [22, 23, 24]  # of 25: three
    assert self_training.choose(_readings(("", 0.9)), [], 0.9) == []


@pytest.mark.parametrize(("least", "first"), [(0.3, 8), (0.75, 20)])
def test_an_epoch_is_trained_on_the_readings_of_the_config_s_confidence(
    tiny_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    least: float,
    first: int,
) -> None:
    config = tiny_config(
        data__train_size=10, data__unlabeled="rest", data__alphabet="7abc",
        train__min_confidence=least,
    )  # fmt: skip
    context = prepare(config)
    unlabeled = context.split.unlabeled
    assert len(unlabeled) == 26  # 40, less 4 of the validation part and 10 with labels
    known = context.data.texts[context.split.train[0]]
    # Image i has confidence i / 26: 8 / 26 = 0.308 and 20 / 26 = 0.769 are the first to be enough.
    readings = _readings(*[(known, i / 26) for i in range(26)])
    monkeypatch.setattr(self_training, "_read", lambda *arguments: readings)
    run: Any = types.SimpleNamespace(
        context=context, epoch=1, steps_since=0, ema=None, dir=RunDir(tmp_path)
    )
    watcher = SignalWatcher()
    self_training.renew(run, watcher)
    assert run.context.pseudo_labeled.tolist() == unlabeled[first:].tolist()


def test_a_signal_stops_the_reading_of_unlabeled_images(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 26 images are read in batches of 8; a signal comes during the second one."""
    changes = {"data.train_size": 10, "data.unlabeled": "rest", "train.eval_batch_size": 8}
    context = prepare(tiny_config(changes))
    watcher = SignalWatcher()
    batches: list[int] = []

    def read(params: Any, images: Any, *_: Any, **__: Any) -> Any:
        batches.append(len(images))
        if len(batches) == 2:
            watcher.number = signal.SIGTERM
        return np.full((8, 4), -1), np.zeros(8), np.zeros(8)

    monkeypatch.setattr(evaluate, "read", read)
    run: Any = types.SimpleNamespace(
        context=context, epoch=1, steps_since=0, ema=None, dir=RunDir(tmp_path)
    )
    with pytest.raises(Interrupted, match="SIGTERM after epoch 1"):
        self_training.renew(run, watcher)
    assert batches == [8, 8]
