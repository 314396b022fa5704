"""The test part of a run does not affect the run, and is scored once, at the end."""

import csv
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import crnn_jax
from crnn_jax.data import folder, sources
from crnn_jax.runs.result import Answer
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training import scoring, train
from crnn_jax.training.context import TrainContext, prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE, QUIET


def _rows(path: Path) -> Any:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _files(context: TrainContext, indices: Any) -> Any:
    return {context.data.files[i] for i in indices.tolist()}


def test_no_test_image_is_trained_or_validated_on_in_any_cell(tiny_config: MakeConfig) -> None:
    tests = set()
    for size in (0, 5):
        for seed in (0, 1):
            for changes in ({}, {"data.split_seed": 3}, {"data.num_folds": 4, "data.fold": 2}):
                config = tiny_config(
                    {"data.test_size": 10, "data.train_size": size, "seed": seed, **changes}
                )
                context = prepare(config)
                trained = {context.data.files[i] for e in (1, 2) for i in context.order(e).tolist()}
                test = _files(context, context.split.test)
                assert len(test) == 10
                assert not test & (trained | _files(context, context.split.val))
                tests.add(frozenset(test))
    assert len(tests) == 1


@pytest.mark.long
def test_weights_do_not_depend_on_the_pixels_of_test_images(
    tiny_config: MakeConfig, captchas: Path, tmp_path: Path
) -> None:
    keys = {"data.test_size": 10, "train.epochs": 1, "data.normalize": "set", **QUIET}
    config = tiny_config(keys)
    first = train.train_and_evaluate(config, tmp_path / "first")
    (tmp_path / "set").mkdir()
    test = {row["file"] for row in _rows(tmp_path / "first" / "test_readings.csv")}
    assert len(test) == 10
    for path in captchas.iterdir():
        with Image.open(path) as image:
            # Darker and inverted, which would change mean and deviation.
            changed = ImageOps.invert(image).point(lambda v: v // 2)
            (changed if path.name in test else image).save(tmp_path / "set" / path.name)
    other = tiny_config({**keys, "data.dir": os.fspath(tmp_path / "set")})
    second = train.train_and_evaluate(other, tmp_path / "second")
    assert second.params_sha256 == first.params_sha256
    assert second.fingerprint != first.fingerprint


def test_as_labeled_means_as_the_folder_has_it(tmp_path: Path) -> None:
    def answer(file: str, truth: Any, reading: Any) -> Any:
        return Answer(file, truth, reading, 0.5, 1.0)

    # With data.case=lower the run trains and reads `ab`, and the folder says `Ab`.
    answers = [answer("1.png", "ab", "ab"), answer("2.png", "cd", "cd"), answer("3.png", "e", "f")]
    data = SimpleNamespace(name="set", fingerprint="0" * 64, labels=("x", "Ab", "cd", "E"))
    context = SimpleNamespace(
        data=data,
        split=SimpleNamespace(test=np.array([1, 2, 3])),
        evaluate=lambda *_: SimpleNamespace(answers=answers),
    )
    run: Any = SimpleNamespace(context=context, dir=RunDir(tmp_path))
    scoring.write_test(run, {}, 1.0)
    scores = json.loads((tmp_path / "test.json").read_text())["scores"]
    assert [scores[way]["num_exact"] for way in ("labeled", "case_folded", "merged")] == [1, 2, 2]


def test_the_record_of_the_test_part_is_counted_by_hand(
    tiny_config: MakeConfig, captchas: Path, tmp_path: Path
) -> None:
    # 240 updates with few checkpoints.
    keys = {"data.test_size": 10, "train.epochs": 3, "train.min_steps_per_epoch": 80, **QUIET}
    config = tiny_config(keys)
    result = train.train_and_evaluate(config, tmp_path)
    rows = _rows(tmp_path / "test_readings.csv")
    stored = json.loads((tmp_path / "test.json").read_text())
    assert stored["num_examples"] == len(rows) == 10
    assert stored["fingerprint"] == result.fingerprint
    assert result.num_train + result.num_val == 30
    exact = 0
    for row in rows:
        assert row["truth"] == row["file"].removesuffix(".png")
        exact += row["truth"] == row["reading"]
    # abc7 has no capitals and no look-alikes, so the three ways give equal counts.
    assert {way: match["num_exact"] for way, match in stored["scores"].items()} == {
        "labeled": exact, "case_folded": exact, "merged": exact,
    }  # fmt: skip
    assert stored["scores"]["labeled"]["exact_match"] == exact / 10
    readings = crnn_jax.load(tmp_path).predict([captchas / row["file"] for row in rows])
    assert [reading.text for reading in readings] == [row["reading"] for row in rows]


def test_the_alphabet_is_that_of_the_labels_trained_on(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config({"data.test_size": 10, "data.train_size": 1, "train.epochs": 1, **BARE})
    source = sources.load(config.data, 16)
    (label,) = (source.data.texts[i] for i in source.split.train)
    assert source.charset.alphabet == "".join(sorted(set(label))) != "7abc"
    # Images whose labels have other symbols validate and test, and are misread.
    train.train_and_evaluate(config, tmp_path)
    evaluation = crnn_jax.load(tmp_path).evaluate().evaluation
    assert evaluation.scores.num_examples == 3  # a tenth of 30
    unknown = [
        row for row in _rows(tmp_path / "test_readings.csv") if set(row["truth"]) - set(label)
    ]
    assert unknown
    assert all(np.isfinite(float(row["loss"])) for row in unknown)
    # A given alphabet is used, whatever the labels are.
    given = tiny_config({"data.test_size": 10, "data.train_size": 1, "data.alphabet": "abc7z"})
    assert sources.load(given.data, 16).charset.alphabet == "abc7z"


def test_without_a_test_part_all_labels_make_the_alphabet(tiny_config: MakeConfig) -> None:
    config = tiny_config({"data.train_size": 1})
    assert sources.load(config.data, 16).charset.alphabet == "7abc"


def test_a_mixture_keeps_its_test_part(tiny_config: MakeConfig) -> None:
    config = tiny_config(
        {"data.source": "mixture", "data.style": "captcha_v2", "data.test_size": 10}
    )
    source = sources.load(config.data, 16)
    real = folder.load(config.data, None, 16)
    assert len(source.split.test) == 10
    assert source.split.test.max() < len(real)
    assert not set(source.split.test.tolist()) & set(source.split.train.tolist())
