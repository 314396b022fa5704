"""Labels that ignore case: readers that know letters in both cases."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax.charset import Charset
from crnn_jax.data import sources
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn
from crnn_jax.runs import run_dir
from crnn_jax.training import train, warm_start
from crnn_jax.training.context import prepare
from tests.helpers.quiet import BARE


def test_the_second_column_of_a_letter_is_that_of_its_other_case(
    like_trained: Any, trained: Path, reader: Recognizer
) -> None:
    """7abc there; C, A, 7 and the blank here, then c and a."""
    config = like_trained()
    charset = Charset("CA7", other_cases="ca")
    fresh = crnn.init(
        crnn.build(config.model, charset, [0.0], [1.0], False), jax.random.key(0), config.data
    )
    params = warm_start.transfer(fresh, charset, warm_start.Origin(trained))
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
        **BARE,
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
    context = prepare(like_trained())
    images = np.repeat(np.asarray(context.images)[:1], 50, axis=0)
    reading = crnn_jax.load(trained).predict(list(images[:1].transpose(0, 2, 1, 3)))[0].text
    assert set(reading) & set("abc")
    texts = [reading.upper()] * capitals + [reading] * (40 - capitals) + [reading + "7"] * 10
    charset = Charset("7ABC")
    found = warm_start.with_other_cases(charset, images, texts, warm_start.Origin(trained), 8)
    assert found == Charset("7ABC", other_cases=expected)


def test_a_reader_without_the_other_case_adds_none(like_trained: Any, trained: Path) -> None:
    """It has no D, and images of another height are left to the message of `transfer`."""
    images = np.asarray(prepare(like_trained()).images)[:4]
    texts = ["D"] * 4
    charset = Charset("7DE")
    assert (
        warm_start.with_other_cases(charset, images, texts, warm_start.Origin(trained), 8)
        is charset
    )
    other = Charset("7ABC")
    assert (
        warm_start.with_other_cases(other, images[:, :, :8], texts, warm_start.Origin(trained), 8)
        is other
    )


def test_a_reader_that_ignores_case_keeps_its_letters(
    monkeypatch: pytest.MonkeyPatch, like_trained: Any, reader: Recognizer
) -> None:
    """Its readings are in one case, so they cannot tell whether labels ignore case."""
    charset = dataclasses.replace(reader.charset, other_cases="ABC")
    adapted = SimpleNamespace(charset=charset, config=reader.config)
    monkeypatch.setattr(warm_start.recognizer, "load", lambda run: adapted)
    images = np.asarray(prepare(like_trained()).images)[:4]
    for alphabet, others in (("7abc", "ABC"), ("7ABC", "abc"), ("7aBb", "A"), ("7de", "")):
        found = warm_start.with_other_cases(
            Charset(alphabet), images, ["7"] * 4, warm_start.Origin("run"), 8
        )
        assert found == Charset(alphabet, other_cases=others)
    assert warm_start.unknown("7aAdD", warm_start.Origin("run")) == "dD"


def test_a_stream_starts_from_a_reader_too(
    like_trained: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has more images than are in memory. Its labels have both cases of no letter."""
    monkeypatch.setattr(sources, "SAMPLE", 8)
    stream = {"data__source": "stream", "data__count": 20, "data__val_fraction": 0.1}
    start = {"train__init_from": str(trained), "train__detect_case": True}
    context = prepare(like_trained(**stream, **start, data__alphabet=""))
    assert len(context.split.train) == 18 > len(context.images) == 10
    assert context.charset.other_cases == ""
