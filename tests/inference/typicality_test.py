"""Images that are not captchas of the reader's scheme are not answered."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.cli import main
from crnn_jax.data import sources
from crnn_jax.errors import DataError, RunError
from crnn_jax.inference import batch_reading, typicality
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn
from crnn_jax.runs import run_dir
from crnn_jax.training import train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig

WHITE = Image.new("L", (64, 16), 255)


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


def expected_energy(logits: np.ndarray) -> float:
    """Of one image [T, K], by the definition."""
    steps = [row for row in logits if row.argmax() != len(row) - 1]
    return float(np.mean([np.log(np.exp(row).sum()) for row in steps])) if steps else -np.inf


def test_the_energy_is_that_of_the_steps_with_a_symbol() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32)
    logits[3, :, -1] = 9  # blanks only
    found = np.asarray(jax.jit(typicality.energy)(logits))
    np.testing.assert_allclose(found, [expected_energy(x) for x in logits], rtol=1e-5)
    assert found[3] == -np.inf


def test_typicality_counts_standard_deviations() -> None:
    typical = Typical.fit(np.array([4.0, 6.0] * 5 + [-np.inf]))
    assert typical is not None
    assert typical.mean == 5
    assert typical.std == pytest.approx(np.sqrt(10 / 9))
    assert typical.of(5 - 2 * typical.std) == pytest.approx(-2)
    assert [typical.of(x) for x in (-np.inf, np.nan, np.inf)] == [-99, -99, 99]
    assert Typical.fit(np.array([4.0] * 7)) is None
    alike = Typical.fit(np.array([4.0] * 8))
    assert alike is not None
    assert alike.std > 0


def test_a_run_measures_its_validation_part(reader: Recognizer, tiny_config: MakeConfig) -> None:
    context = prepare(tiny_config({"model.lstm_units": (16, 8)}, data__val_fraction=0.5))
    assert context.charset.alphabet == reader.charset.alphabet
    _, typical = context.calibrate(reader.params)
    images = context.data.images[context.split.val]
    logits = jax.jit(crnn.apply)(context.model, reader.params, images)
    energies = np.array([expected_energy(x) for x in np.asarray(logits)])
    energies = energies[np.isfinite(energies)]
    assert typical is not None
    assert typical.mean == pytest.approx(energies.mean(), rel=1e-4)
    assert typical.std == pytest.approx(energies.std(ddof=1), rel=1e-3)


@pytest.fixture
def measured(trained: Path, captchas: Path, tmp_path: Path) -> Path:
    """The run `trained`, with the typicality of its whole set; its validation part is too small."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    reader = crnn_jax.load(run)
    reader.typical = Typical(0, 1)  # so that the typicality is the energy
    energies = [reading.typicality for reading in reader.predict(sorted(captchas.iterdir()))]
    typical = Typical.fit(np.array(energies))
    assert typical is not None
    directory = run_dir.RunDir(run)
    directory.write_json(
        "result.json", {**directory.read_json("result.json"), "typicality": list(typical)}
    )
    return run


def test_readings_and_explanations_have_the_same_typicality(measured: Path, captchas: Path) -> None:
    reader = crnn_jax.load(measured)
    own = reader.predict(sorted(captchas.iterdir()))
    values = [reading.typicality for reading in own if reading.typicality is not None]
    found = [value for value in values if value != typicality.LOWEST]
    assert len(found) > 30
    # By the definition: it was measured on them.
    assert np.mean(found) == pytest.approx(0, abs=0.01)
    assert np.std(found, ddof=1) == pytest.approx(1, abs=0.01)
    for reading, value in zip(own, values, strict=True):
        assert reading.answered == (reading.text != "" and value >= -3)
    (explained,) = reader.explain(sorted(captchas.iterdir())[0])
    assert explained.typicality == pytest.approx(own[0].typicality, abs=1e-2)
    assert explained.answered == own[0].answered


def test_an_empty_reading_is_no_answer(reader: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its confidence, and also where the typicality was not measured."""
    for typical in (None, Typical(0, 1e9)):
        monkeypatch.setattr(reader, "typical", typical)
        reading = batch_reading._judged(reader, "", 1.0, -np.inf)
        assert (reading.confidence, reading.answered) == (1.0, False)
        assert batch_reading._judged(reader, "a", 0.1, 0.0).answered
    assert not batch_reading._judged(reader, "a", 1.0, -4e9).answered


def test_a_blank_picture_on_the_command_line(
    measured: Path, captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_dir.RunDir(measured)
    mean, std = run.read_json("result.json")["typicality"]
    WHITE.save(tmp_path / "white.png")
    # The limit is raised above all images, so that whatever is read in white is not typical.
    run.write_json("result.json", {**run.read_json("result.json"), "typicality": [mean + 99, std]})
    paths = [str(tmp_path / "white.png"), str(sorted(captchas.iterdir())[0])]
    for options in ([], ["--min-confidence", "0.0001"]):
        texts = []
        for form in ("json", "csv", "text"):
            assert main.main(["predict", str(measured), *paths, "--format", form, *options]) == 0
            out = capsys.readouterr().out
            if form == "json":
                assert [row["answered"] for row in json.loads(out)] == [False, False]
                assert all(row["typicality"] < -3 for row in json.loads(out))
                texts = [row["text"] for row in json.loads(out)]
            elif form == "csv":
                rows = list(csv.DictReader(io.StringIO(out)))
                assert [(row["text"], row["answered"]) for row in rows] == [
                    (text, "false") for text in texts
                ]
            else:
                assert all(line.endswith("\tunanswered") for line in out.splitlines())
        assert (texts == ["", ""]) == bool(options)  # blanked on request only


def test_records_without_a_measurement_and_damaged_ones(measured: Path) -> None:
    run = run_dir.RunDir(measured)
    values = run.read_json("result.json")
    assert crnn_jax.load(measured).typical == tuple(values.pop("typicality"))
    run.write_json("result.json", values)  # of an older version
    old = crnn_jax.load(measured)
    assert old.typical is None
    assert old.predict(WHITE)[0].typicality is None
    for wrong in ([1.0, 0.0], [1.0], ["a", "b"]):
        run.write_json("result.json", {**values, "typicality": wrong})
        with pytest.raises(RunError, match="typicality"):
            crnn_jax.load(measured)


def test_the_general_reader_knows_what_is_no_text() -> None:
    reader = crnn_jax.load("general")
    assert reader.typical is not None
    noise = np.random.default_rng(0).integers(0, 256, (50, 200), np.uint8)
    for picture in (WHITE, Image.new("L", (200, 50), 90), noise):
        (reading,) = reader.predict(picture)
        assert not reading.answered


def test_a_reading_is_a_pair_that_keeps_its_attributes() -> None:
    reading = Reading("ab", 0.5, -4.0, False)
    text, confidence = reading
    assert (text, confidence) == ("ab", 0.5)
    again: Any = pickle.loads(pickle.dumps(reading))
    assert (again, again.typicality, again.answered) == (reading, -4.0, False)


@pytest.fixture
def with_blanks(captchas: Path, tmp_path: Path) -> Path:
    """The small set and twenty images without text, whose labels are empty."""
    folder = tmp_path / "data"
    shutil.copytree(captchas, folder)
    for i in range(20):
        Image.new("L", (64, 16), 150 + i).save(folder / f"_{i}.png")
    return folder


def test_empty_labels_are_an_error_unless_they_are_allowed(
    with_blanks: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config(data__dir=str(with_blanks)).data
    with pytest.raises(DataError, match="its label is empty"):
        sources.load(config, 16)
    allowed = dataclasses.replace(config, allow_empty=True, val_fraction=0.25)
    data, split, charset, *_ = sources.load(allowed, 16)
    assert charset.alphabet == "7abc"
    # Images without text are in both parts, although their labels are equal.
    for part in (split.train, split.val):
        assert 0 < sum(not data.texts[i] for i in part) < len(part)


@pytest.mark.long
def test_a_reader_that_knows_empty_labels_can_be_certain_of_them(
    with_blanks: Path, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config(
        data__dir=str(with_blanks), data__allow_empty=True, train__epochs=1, loss__by_length=True
    )
    result = train.train_and_evaluate(config, tmp_path / "run")
    assert np.isfinite(result.val_loss)
    (reading,) = crnn_jax.load(tmp_path / "run").predict(WHITE)
    assert reading.text == ""  # after one epoch the model predicts only blanks
    assert reading.answered
