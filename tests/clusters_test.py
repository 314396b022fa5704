"""Combining marks that form one symbol with their letter.

Which code points are marks is from the code charts of Unicode. Orders in an image are derived by
hand from UAX #9, as in bidi_test.py, with a letter and its marks at one place.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

import crnn_jax
from crnn_jax import clusters
from crnn_jax import config as config_lib
from crnn_jax.charset import PAD, Charset, required_steps
from crnn_jax.cli import main as cli
from crnn_jax.cli import reader_options
from crnn_jax.data import folder, label_report, resolve, text_lengths
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.inference import metrics, scheme_form
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models import ctc_loss
from crnn_jax.training import self_training
from crnn_jax.training.context import prepare
from tests.helpers import random_run
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw

KO, MAI_THO, SARA_I = "\u0e01", "\u0e49", "\u0e34"  # Thai: a consonant, a tone mark, a vowel above
SHIN, ALEF, DAGESH, QAMATS, SHIN_DOT = "\u05e9", "\u05d0", "\u05bc", "\u05b8", "\u05c1"
MIM, FATHA = "\u0645", "\u064e"


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("", []),
        ("ab1", ["a", "b", "1"]),
        (KO + MAI_THO + KO, [KO + MAI_THO, KO]),
        (KO + SARA_I + MAI_THO, [KO + SARA_I + MAI_THO]),  # two marks on one letter
        ("\u0915\u093f\u0915", ["\u0915\u093f", "\u0915"]),  # Hindi: a vowel sign that takes space
        ("x\u0302y", ["x\u0302", "y"]),  # there is no composed x with circumflex
    ],
)
def test_a_letter_and_its_marks_are_one_symbol(text: str, symbols: list[str]) -> None:
    assert clusters.split(text) == symbols
    assert clusters.split(text, "separate") == list(text)
    assert Charset(text or "a", marks="joined").split(text) == symbols


@pytest.mark.parametrize(
    ("typed", "image"),
    [
        ([SHIN + QAMATS + SHIN_DOT, ALEF], [ALEF, SHIN + QAMATS + SHIN_DOT]),
        ([MIM + FATHA, "1", "2", MIM], [MIM, "1", "2", MIM + FATHA]),
        ([SHIN + DAGESH, "a", "b"], ["a", "b", SHIN + DAGESH]),
        (["a", "b\u0302", SHIN], [SHIN, "a", "b\u0302"]),
        ([SHIN + DAGESH, SHIN + QAMATS, SHIN], [SHIN, SHIN + QAMATS, SHIN + DAGESH]),
        ([SHIN + QAMATS, "(", ALEF, ")"], [")", ALEF, "(", SHIN + QAMATS]),
        (["1\u0302", SHIN], [SHIN, "1\u0302"]),  # as a letter from left to right
    ],
)
def test_marks_stay_with_their_letters_in_the_order_of_an_image(
    typed: list[str], image: list[str]
) -> None:
    assert clusters.in_image(typed) == image
    assert clusters.as_typed(image) == typed
    charset = Charset("".join(sorted(set(typed))), "rtl", "joined")
    ids = charset.encode(["".join(typed)])
    assert [charset.symbols[i] for i in ids[0]] == image
    assert charset.decode(ids[0]) == "".join(typed)


def test_the_longest_text_has_a_stand_in_for_each_cluster() -> None:
    marks = [chr(c) for c in range(0x0591, 0x05BD)]  # 44 of Hebrew
    symbols = [chr(letter) + mark for letter in range(0x05D0, 0x05D6) for mark in marks]
    assert len(symbols) == 264
    assert clusters.in_image(symbols) == symbols[::-1]


def test_ids_of_joined_symbols_count_them_and_not_their_code_points() -> None:
    charset = Charset.derive([KO + MAI_THO + "a", "a" + KO], marks="joined")
    assert charset.symbols == ("a", KO, KO + MAI_THO)
    assert (charset.num_classes, charset.blank) == (4, 3)
    assert charset.encode([KO + MAI_THO + "a", KO]).tolist() == [[2, 0], [1, PAD]]
    assert charset.unknown(KO + SARA_I + "b" + KO) == "b" + KO + SARA_I
    # Two equal letters with different marks need no blank between them.
    assert required_steps(charset.split(KO + MAI_THO + KO)) == 2
    assert required_steps(charset.split(2 * (KO + MAI_THO))) == 3
    assert charset.completed() == charset  # one letter is no alphabet
    two = Charset.derive(["ab" + KO + MAI_THO], marks="joined").completed()
    assert two.marks == "joined"
    assert len(two.symbols) == 26 + 1


def test_an_alphabet_is_composed_like_the_labels() -> None:
    assert Charset("e\u0301a", marks="joined").encode(["\u00e9"]).tolist() == [[0]]


def test_alphabets_that_cannot_be_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"begins with a combining mark; with data\.marks=joined"):
        Charset(MAI_THO + KO, marks="joined")
    with pytest.raises(ConfigError, match=r"more than once; with data\.marks=joined, a letter and"):
        Charset(KO + KO + MAI_THO)
    with pytest.raises(ConfigError, match=r"more than once$"):
        Charset("aa")


def _set(captchas: Path, to: Path) -> dict[str, str]:
    """The small set of images, with labels in which a is a letter with two marks."""
    to.mkdir()
    thai = {ord("a"): KO + SARA_I + MAI_THO, ord("b"): KO + MAI_THO, ord("c"): KO}
    labels = {path.name: path.stem.translate(thai) for path in captchas.iterdir()}
    for path in captchas.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    with (to / "labels.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("file", "label"), *labels.items()])
    return labels


def test_a_folder_with_marks_trains_as_one_without(
    captchas: Path, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """The same images with labels of the same symbols, under other names."""
    labels = _set(captchas, tmp_path / "thai")
    other = tiny_config(
        data__dir=os.fspath(tmp_path / "thai"), data__marks="joined", data__length="labels"
    )
    context = prepare(resolve.resolve(other))
    plain = prepare(resolve.resolve(tiny_config(data__length="labels")))
    assert plain.charset.symbols == ("7", "a", "b", "c")
    order = ["7", KO, KO + SARA_I + MAI_THO, KO + MAI_THO]  # by code points: c, a, b
    assert list(context.charset.symbols) == order
    names = np.array([0, 2, 3, 1, PAD])  # 7, a, b, c in that order, and padding
    np.testing.assert_array_equal(context.labels, names[np.asarray(plain.labels)])
    assert context.config.data.length == plain.config.data.length
    # The split depends on the labels, so the training images are others.
    stems = [Path(context.data.files[i]).stem for i in context.split.train.tolist()]
    steps = config_lib.num_steps(context.config)
    assert context.plateau_loss == ctc_loss.plateau_loss(stems, steps, 4)
    assert context.data.texts == tuple(labels[file] for file in context.data.files)
    # Without the key, marks are symbols, and texts are longer.
    separate = config_lib.from_dict(config_lib.to_dict(other))
    separate = dataclasses.replace(
        separate, data=dataclasses.replace(separate.data, marks="separate")
    )
    apart = prepare(resolve.resolve(separate))
    assert apart.charset.symbols == ("7", KO, SARA_I, MAI_THO)
    assert apart.config.data.length != context.config.data.length


def test_a_label_that_begins_with_a_mark_is_refused(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    draw("ab").save(tmp_path / "0.png")
    (tmp_path / "labels.csv").write_text(f"file,label\n0.png,{MAI_THO}{KO}\n", encoding="utf-8")
    config = tiny_config(data__dir=os.fspath(tmp_path), data__marks="joined")
    with pytest.raises(DataError, match=r"0\.png.*begins with a combining mark"):
        folder.load(config.data, None, 50)
    apart = dataclasses.replace(config.data, marks="separate")
    assert folder.load(apart, None, 50).texts == (MAI_THO + KO,)


def test_lengths_and_reports_count_symbols(tiny_config: MakeConfig) -> None:
    texts = [KO + MAI_THO + "a", "ab"]
    data = dataclasses.replace(tiny_config().data, marks="joined", length="2")
    assert text_lengths.others(texts, data) == []
    assert text_lengths.others(texts, dataclasses.replace(data, marks="separate")) == texts[:1]
    lines = label_report.summary(["0", "1"], texts, "joined")
    assert "2 characters long (2: 2)" in lines[0]
    assert f"a:2 {KO}{MAI_THO}:1 b:1" in lines[1]
    split = Charset("ab" + KO + MAI_THO, marks="joined").split
    counts = metrics.confusions([(split(KO + MAI_THO + "a"), split("ba"))])
    assert counts == {(KO + MAI_THO, "b"): 1, ("a", "a"): 1}


def test_the_form_of_a_scheme_is_one_of_symbols() -> None:
    readings = [Reading(KO + MAI_THO + "a", 0.9)] * 6 + [Reading("ab", 0.8)] * 6
    assert scheme_form.common_lengths(readings, clusters.split) == (2, 2)
    found = scheme_form.common_symbols(readings, clusters.split)
    assert clusters.split(found) == ["a", "b", KO + MAI_THO]
    # With a label of two symbols, a reading of three code points is plausible.
    assert self_training.choose(readings[:1], ["ab"], 0.5, clusters.split) == [0]
    assert self_training.choose(readings[:1], ["ab"], 0.5) == []


def test_a_reader_keeps_its_joined_symbols(tmp_path: Path, tiny_config: MakeConfig) -> None:
    alphabet, run = "a" + KO + KO + MAI_THO, tmp_path / "run"
    standard = Normalization((127.5,), (127.5,), False)
    reader = random_run.write(run, tiny_config(data__marks="joined"), standard, alphabet)
    assert reader.charset == Charset(alphabet, "ltr", "joined")
    decoder = reader.decoder(length=3, allowed=KO + MAI_THO)
    assert decoder.allowed == ((False, False, True),) * 3
    (reading,) = reader.predict([draw("ab")], decoder)
    assert reading.text == 3 * (KO + MAI_THO)
    (explanation,) = reader.explain([draw("ab")], decoder)
    assert [c.symbol for c in explanation.characters] == 3 * [KO + MAI_THO]
    pred = np.eye(4)[[[2, 3, 0, 2, 3]]]  # of the classes a, KO, KO + MAI_THO and the blank
    assert reader.decode_batch_predictions(pred) == [KO + MAI_THO + "a" + KO + MAI_THO]
    form = reader_options._form(decoder, reader.charset.symbols)
    assert form == f"the texts have 3 characters of {KO + MAI_THO}"
    out = tmp_path / "out"
    assert cli.main(["export", os.fspath(run), "--format", "safetensors", "--out", str(out)]) == 0
    described = json.loads((out / "reader.json").read_text(encoding="utf-8"))
    assert described["alphabet"] == ["a", KO, KO + MAI_THO]
    again = tmp_path / "again"
    assert cli.main(["import-safetensors", str(out), str(again)]) == 0
    assert crnn_jax.load(again).charset == reader.charset
    assert crnn_jax.load(again).predict([draw("ab")])[0] == reader.predict([draw("ab")])[0]
