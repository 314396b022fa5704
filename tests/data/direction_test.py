"""Labels from right to left, from a folder to training and to readings."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.charset import PAD, Charset
from crnn_jax.data import direction, folder, resolve, sources
from crnn_jax.data.normalization import Normalization
from crnn_jax.runs import config_migrations
from crnn_jax.training.context import prepare
from tests.helpers import looks, random_run
from tests.helpers.fixtures import CONFIG, MakeConfig
from tests.helpers.images import draw

HEBREW = str.maketrans("7abc", "אבגד")  # in the same order


def _write(to: Path, labels: dict[str, str]) -> Path:
    """Writes images of the same width, with a label file."""
    to.mkdir()
    for file in labels:
        draw("ab").save(to / file)
    with (to / "labels.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("file", "label"), *labels.items()])
    return to


def test_hebrew_labels_give_the_ids_of_the_same_images_from_left_to_right(
    captchas: Path, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """The images of the small set, read as if a were ב: typed from right to left."""
    labels = {path.name: path.stem.translate(HEBREW)[::-1] for path in captchas.iterdir()}
    hebrew = _write(tmp_path / "set", labels)
    for path in captchas.iterdir():
        (hebrew / path.name).write_bytes(path.read_bytes())
    config = resolve.resolve(tiny_config(data__dir=os.fspath(hebrew)))
    assert config.data.direction == "rtl"
    context = prepare(config)
    plain = prepare(resolve.resolve(tiny_config()))
    assert plain.charset == Charset("7abc", "ltr")
    assert context.charset == Charset("אבגד", "rtl")
    assert context.data.files == plain.data.files
    np.testing.assert_array_equal(context.labels, plain.labels)
    assert context.data.texts == tuple(labels[file] for file in context.data.files)  # as typed


@pytest.mark.parametrize(
    ("given", "alphabet", "labels", "expected"),
    [
        ("auto", "", ["אב", "ab"], "rtl"),
        ("auto", "", ["12", "ab"], "ltr"),
        ("auto", "abא", ["ab", "ba"], "rtl"),
        ("ltr", "", ["אב", "ab"], "ltr"),
        ("rtl", "", ["12", "ab"], "rtl"),
    ],
)
def test_the_direction_is_that_of_the_letters_unless_it_is_given(
    tmp_path: Path,
    tiny_config: MakeConfig,
    given: str,
    alphabet: str,
    labels: list[str],
    expected: str,
) -> None:
    images = _write(tmp_path / "set", {f"{i}.png": text for i, text in enumerate(labels)})
    config = tiny_config(
        data__dir=os.fspath(images), data__direction=given, data__alphabet=alphabet
    )
    assert resolve.resolve(config).data.direction == expected


def test_generated_texts_have_the_order_in_which_they_are_drawn(tiny_config: MakeConfig) -> None:
    config = tiny_config(data__source="synthetic", data__count=4)
    assert resolve.resolve(config).data.direction == "ltr"


def test_a_record_of_an_older_version_has_labels_in_the_order_of_the_image() -> None:
    values = config_lib.to_dict(config_lib.Config())
    del values["data"]["direction"]
    assert config_migrations.up_to_date(values)["data"]["direction"] == "ltr"


def test_readings_are_typed_text_and_score_as_such(
    tmp_path: Path, captchas: Path, tiny_config: MakeConfig
) -> None:
    """Two readers with the same weights, from left to right and from right to left."""
    moments = Normalization((90.0,), (60.0,), False)
    readers = [
        random_run.write(
            tmp_path / way,
            tiny_config(data__direction=way, train__eval_batch_size=8),
            moments,
            "אבגד",
            noise=0.8,
        )
        for way in ("ltr", "rtl")
    ]
    files = sorted(captchas.iterdir())[:8]
    image, typed = (reader.predict(files) for reader in readers)
    assert [reading.text for reading in typed] == [reading.text[::-1] for reading in image]
    assert any(reading.text != reading.text[::-1] for reading in image)
    explained = readers[1].explain(files)
    for here, there in zip(explained, image, strict=True):
        assert "".join(c.symbol for c in here.characters) == there.text
        assert here.text == there.text[::-1]
    logits = np.eye(5, dtype=np.float32)[None, [0, 1, 1, 4, 2]]  # ids 0 1 2 and a blank
    assert [reader.decode_batch_predictions(logits) for reader in readers] == [["אבג"], ["גבא"]]

    # A folder whose labels are the readings, as typed, is read without an error.
    labels = {p.name: r.text for p, r in zip(files, typed, strict=True) if r.text}
    for name in labels:
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_bytes((captchas / name).read_bytes())
    table = "file,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items())
    (tmp_path / "set" / "labels.csv").write_text(table, encoding="utf-8")
    found = readers[1].evaluate(tmp_path / "set").evaluation
    assert found.scores.num_exact == len(labels) > 3
    for answer in found.answers:  # the loss of the label is that of the reading
        assert np.exp(-answer.loss) == pytest.approx(answer.confidence, rel=1e-4)


def test_ids_of_generated_images_have_the_order_in_which_they_are_drawn(tmp_path: Path) -> None:
    look = {**looks.LOOK, "alphabet": "a-"}
    (tmp_path / "look.json").write_text(json.dumps(look))
    drawn, typed = (
        sources.load(
            dataclasses.replace(
                CONFIG, source="synthetic", style=str(tmp_path / "look.json"), direction=way
            ),
            looks.STEPS,
        )
        for way in ("ltr", "rtl")
    )
    assert drawn.data.texts != typed.data.texts  # a hyphen at an end is on the other side
    np.testing.assert_array_equal(
        typed.charset.encode(typed.data.texts), drawn.charset.encode(drawn.data.texts)
    )


def test_labels_that_do_not_come_back_are_counted_with_an_example(tmp_path: Path) -> None:
    images = _write(tmp_path / "set", {"0.png": "אב", "1.png": "+1+0دب", "2.png": "12ב"})
    config = dataclasses.replace(CONFIG, dir=os.fspath(images), direction="rtl")
    (warning,) = folder.load(config, None, 16).warnings
    assert warning.startswith("1 of 3 labels, such as '+1+0دب', mix directions")
    assert direction.warnings(["+1+0دب"], dataclasses.replace(config, direction="ltr")) == ()


def test_combining_marks_are_symbols_in_the_order_in_which_they_are_typed() -> None:
    # Devanagari and Thai have no composed forms of these; ids follow the code points.
    texts = ["कि", "ก้ำ", "x\u0323"]
    charset = Charset.derive(texts)
    labels = charset.encode(texts)
    assert [int((row != PAD).sum()) for row in labels] == [2, 3, 2]
    assert [charset.decode(row) for row in labels] == texts


def test_the_package_reads_latin_without_the_library(
    trained: Path, captchas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bidi", None)
    reader = crnn_jax.load(trained)
    assert reader.charset.direction == "ltr"
    assert len(reader.predict(sorted(captchas.iterdir())[:2])) == 2
