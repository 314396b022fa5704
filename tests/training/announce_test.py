"""What a run prints of its data before it trains, and when it says that it is on the plateau."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crnn_jax.errors import DataError
from crnn_jax.inference import recognizer
from crnn_jax.training import run_logging, train
from crnn_jax.training.context import prepare
from crnn_jax.training.early_stopping import Stopping
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw
from tests.helpers.quiet import QUIET, TRAINED

TEXTS = [f"{a}{b}" for a in "123456" for b in "789"]


def test_the_first_line_names_the_format_and_the_next_ones_describe_the_labels(
    tmp_path: Path, tiny_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for i, text in enumerate(TEXTS):
        draw(text).save(tmp_path / "images" / f"{i}.png")
    rows = "".join(f"images\\{i}.png;{text}\n" for i, text in enumerate(TEXTS))
    (tmp_path / "labels.csv").write_text(f"Filename;Text\n{rows}gone.png;12\n")
    run_logging.announce(prepare(tiny_config(data__dir=str(tmp_path))))
    first, left_out, summary, symbols, examples, *_ = capsys.readouterr().out.splitlines()
    assert first == (
        "labels are from labels.csv (a table with the delimiter semicolon, columns 'Filename' and "
        "'Text')"
    )
    assert left_out.startswith("warning: 1 row of labels.csv without an image")
    assert summary == "labels: 18, 18 of them distinct, 2 characters long (2: 18)"
    assert symbols.startswith("symbols by frequency: 7:6 ")
    assert examples.startswith("examples: images/0.png is '17', ")


def test_a_warning_of_misread_names_comes_before_training(
    tmp_path: Path, tiny_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, text in enumerate(TEXTS):
        draw(text).save(tmp_path / f"{text}{' (1)' * (i % 6 == 0)}.png")
    draw("1").save(tmp_path / ".hidden.png")
    run_logging.announce(prepare(tiny_config(data__dir=str(tmp_path))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "labels are from the file names"
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "1 image whose names begin with a dot" in warnings[0]
    assert "3 labels have the mark of a copy, such as 17 (1).png is '17 (1)'" in warnings[1]
    changes = {"data__label_pattern": "^([^ (._]+)"}
    run_logging.announce(prepare(tiny_config(data__dir=str(tmp_path), **changes)))
    said = capsys.readouterr().out
    assert said.startswith("labels are from the file names, data.label_pattern=^([^ (._]+)\n")
    assert "copy" not in said


def test_a_space_of_the_alphabet_can_be_seen(
    tmp_path: Path, tiny_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in TEXTS:
        draw(text).save(tmp_path / f"{text[0]} {text[1]}.png")
    run_logging.announce(prepare(tiny_config(data__dir=str(tmp_path))))
    assert "10 symbols ' 123456789', fingerprint" in capsys.readouterr().out


def test_a_split_that_cannot_be_made_says_that_the_names_are_misread(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    for text in TEXTS:
        draw(text).save(tmp_path / f"captcha_{text}.png")
    with pytest.raises(DataError, match=r"label 'captcha'(.|\n)*label_pattern='_\(\[\^_\]\+\)\$'"):
        prepare(tiny_config(data__dir=str(tmp_path)))


def test_a_run_with_its_own_parts_scores_them(tmp_path: Path, tiny_config: MakeConfig) -> None:
    for k, text in enumerate(TEXTS):
        folder = tmp_path / "set" / ("train", "train", "val", "train", "test", "train")[k % 6]
        folder.mkdir(parents=True, exist_ok=True)
        draw(text).save(folder / f"{text}.png")
    config = tiny_config({"data.dir": str(tmp_path / "set"), "train.epochs": 1, **QUIET})
    result = train.train_and_evaluate(config, tmp_path / "run")
    assert (result.num_train, result.num_val, result.num_examples) == (12, 3, 3)
    for name, expected in (("readings.csv", TEXTS[2::6]), ("test_readings.csv", TEXTS[4::6])):
        with (tmp_path / "run" / name).open(newline="") as file:
            assert [row["truth"] for row in csv.DictReader(file)] == expected
    test = json.loads((tmp_path / "run" / "test.json").read_text())
    assert test["num_examples"] == 3
    reader = recognizer.load(tmp_path / "run")
    assert reader.evaluate().evaluation.scores.num_examples == 3
    assert reader.evaluate(tmp_path / "set").evaluation.scores.num_examples == 18
    # A folder with one image can be scored, though it cannot be split.
    assert reader.evaluate(tmp_path / "set" / "val").evaluation.scores.num_examples == 3


@pytest.mark.parametrize(
    ("loss", "train_loss", "said"),
    [
        (10.0, None, "has not left the plateau"),
        (9.0, 7.6, "has not left the plateau"),
        (17.0, 16.0, "has not left the plateau"),  # training has just begun
        (9.0, 7.4, "reads its training images (loss 7.40), but the best validation loss, 9.00"),
        (30.0, 0.1, "reads its training images"),
    ],
)
def test_the_plateau_note_is_for_the_plateau(
    capsys: pytest.CaptureFixture[str],
    tiny_config: MakeConfig,
    loss: float,
    train_loss: float | None,
    said: str,
) -> None:
    """The plateau is left at a loss of 0.75 * 10 in training, whatever validation says."""
    context = SimpleNamespace(plateau_loss=10.0)
    run: Any = SimpleNamespace(stopping=Stopping(), context=context, config=tiny_config())
    run_logging.warn_of_plateau(run, loss, train_loss)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "advised"),
    [
        ({}, {"adapt.py"}),
        ({"flat_start.until": 0.0}, {"flat_start.until=0.85", "adapt.py"}),
        ({"data.normalize": "set"}, {"data.normalize=auto", "adapt.py"}),
        # A run that starts from a reader has no flat start.
        ({"train.init_from": "general", "flat_start.until": 0.0}, set()),
    ],
)
def test_the_plateau_note_advises_only_what_is_not_in_force(
    capsys: pytest.CaptureFixture[str],
    tiny_config: MakeConfig,
    keys: dict[str, Any],
    advised: set[str],
) -> None:
    config = tiny_config({"data.normalize": "auto", "flat_start.until": 0.85, **keys})
    context = SimpleNamespace(plateau_loss=10.0)
    run: Any = SimpleNamespace(stopping=Stopping(), context=context, config=config)
    run_logging.warn_of_plateau(run, 10.0)
    note = capsys.readouterr().out
    possible = {"flat_start.until=0.85", "data.normalize=auto", "adapt.py"}
    assert {advice for advice in possible if advice in note} == advised
    assert "optimizer.learning_rate" in note


def test_labels_that_only_validation_has_are_no_plateau(
    tmp_path: Path, tiny_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training learns two texts; validation has two other symbols, which nothing can teach."""
    for part, texts in (("train", ("11", "7")), ("val", ("cac", "a"))):
        (tmp_path / "set" / part).mkdir(parents=True)
        for text in texts:
            for k in range(8):
                draw(text).save(tmp_path / "set" / part / f"{text}_{k}.png")
    keys = {"data.dir": str(tmp_path / "set"), "train.patience": 0, **TRAINED}
    config = tiny_config(keys)
    train.train_and_evaluate(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "16 of 16 validation images have symbols that no training image has: 'ac'" in said
    assert "at the end the model reads its training images" in said
    assert "not left the plateau" not in said
