"""The page decodes logits in Node as the package does."""

import dataclasses
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crnn_jax
from crnn_jax import clusters
from crnn_jax.charset import Charset
from crnn_jax.data import image_io
from crnn_jax.inference import evaluate
from crnn_jax.interop import model_spec
from crnn_jax.models import crnn
from crnn_jax.models.decoding import Decoder
from tests.helpers import node


def test_texts_places_and_probabilities_are_the_reader_s(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    reader = crnn_jax.load(trained)
    files = sorted(captchas.iterdir())[:12]
    images = [image_io.to_array(image_io.open_image(f), reader.config.data) for f in files]
    logits = np.asarray(crnn.apply(reader.model, reader.params, jnp.stack(images)))
    values = {
        "reader": model_spec.describe(reader),
        "logits": [rows.reshape(-1).tolist() for rows in logits],
    }
    found = node.run("input.logits.map((row) => explain(row, reader))", values, tmp_path)
    for here, there in zip(reader.explain(files), found, strict=True):
        assert there["text"] == here.text
        assert there["confidence"] == pytest.approx(here.confidence, rel=1e-3)
        assert len(there["characters"]) == len(here.characters)
        for ours, other in zip(here.characters, there["characters"], strict=True):
            assert other["symbol"] == ours.symbol
            assert other["probability"] == pytest.approx(ours.probability, abs=1e-3)
            assert (other["left"], other["right"]) == pytest.approx((ours.left, ours.right))


@pytest.mark.parametrize(
    ("length", "text", "confidence", "probabilities"),
    [
        # The greedy text, of the path a-a.
        ("", "aa", 0.15, [0.15 / (0.15 + 0.167), 0.15 / (0.15 + 0.262)]),
        ("1-2", "aa", 0.15, [0.15 / (0.15 + 0.167), 0.15 / (0.15 + 0.262)]),
        # The paths aaa, aa-, a--, -aa, -a- and --a; the same six of b have 0.055.
        ("1", "a", 0.12 + 0.024 + 0.03 + 0.02 + 0.004 + 0.025, [0.223 / (0.223 + 0.055)]),
        # Only bab (0.048) and aba (0.03) fit in three steps. Longer texts do not fit.
        ("3", "bab", 0.048, [1, 1, 1]),
        ("3-9", "bab", 0.048, [1, 1, 1]),
        ("4", "bab", 0.048, [1, 1, 1]),
    ],
)
def test_the_page_reads_texts_of_the_known_length(
    tmp_path: Path, length: str, text: str, confidence: float, probabilities: list[float]
) -> None:
    # Of a, b and the blank. ba has the paths bba, baa, b-a, -ba and ba-, and ab likewise.
    steps = [[0.6, 0.3, 0.1], [0.4, 0.1, 0.5], [0.5, 0.4, 0.1]]
    reader = {
        "alphabet": ["a", "b"],
        "blank": 2,
        "temperature": 1,
        "length": length,
        "direction": "ltr",
        "output": {"steps": 3, "classes": 3},
    }
    values = {"reader": reader, "logits": np.log(steps).reshape(-1).tolist()}
    found = node.run("explain(input.logits, reader)", values, tmp_path)
    assert found["text"] == text
    assert found["confidence"] == pytest.approx(confidence)
    assert [c["probability"] for c in found["characters"]] == pytest.approx(probabilities)


def test_texts_of_a_known_length_are_those_of_the_decoder(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (50, 8, 4)).astype(np.float32)
    decoder = Decoder(shortest=2, longest=3)
    ids, log_probability = jax.jit(evaluate.decode, static_argnums=2)(logits, 0.5, decoder)
    expected = evaluate.to_readings(Charset("abc"), np.asarray(ids), np.asarray(log_probability))
    reader = {
        "alphabet": ["a", "b", "c"],
        "blank": 3,
        "temperature": 0.5,
        "length": "2-3",
        "direction": "ltr",
        "output": {"steps": 8, "classes": 4},
    }
    values = {"reader": reader, "logits": logits.reshape(50, -1).tolist()}
    found = node.run("input.logits.map((row) => explain(row, reader))", values, tmp_path)
    assert [reading["text"] for reading in found] == [text for text, _ in expected]
    np.testing.assert_allclose(
        [reading["confidence"] for reading in found], [c for _, c in expected], rtol=1e-4
    )


def test_without_a_path_of_the_known_length_nothing_is_read(tmp_path: Path) -> None:
    # aa needs three steps, because a blank separates equal characters.
    reader = {
        "alphabet": ["a"],
        "blank": 1,
        "temperature": 1,
        "length": "2",
        "direction": "ltr",
        "output": {"steps": 2, "classes": 2},
    }
    values = {"reader": reader, "logits": np.log([0.9, 0.1, 0.8, 0.2]).tolist()}
    found = node.run("explain(input.logits, reader)", values, tmp_path)
    assert (found["text"], found["characters"]) == ("", [])
    assert found["confidence"] == pytest.approx(0.1 * 0.2)


def _typed(images: list[list[str]], tmp_path: Path) -> list[str]:
    """The texts that the page types for symbols in the order of an image."""
    kinds = [[clusters.bidirectional_class(symbol) for symbol in symbols] for symbols in images]
    program = "input.images.map((symbols, i) => asTyped(symbols, input.kinds[i]).join(''))"
    found: list[str] = node.run(program, {"reader": {}, "images": images, "kinds": kinds}, tmp_path)
    return found


def test_text_from_right_to_left_is_typed_in_the_page_as_in_the_package(tmp_path: Path) -> None:
    # The orders of tests/bidi_test.py, from the image to the text as it is typed.
    images = ["םולש", "١٢٣جبد", "דג12בא", "דגxyבא", "12באxy", "1-2א", "בx1א", "ב(א", "ab12", ""]
    typed = ["שלום", "دبج١٢٣", "אב12גד", "אבxyגד", "xyאב12", "א1-2", "אx1ב", "א(ב", "ab12", ""]
    # Digits of N'Ko are of class R, like its letters; those of Rohingya are Arabic numbers.
    images += ["\u07c2\u07c1\u07ca", "12\U0001e901\U0001e900", "\U00010d30\U00010d31\U00010d00"]
    typed += ["\u07ca\u07c1\u07c2", "\U0001e900\U0001e90112", "\U00010d00\U00010d30\U00010d31"]
    # Both brackets of a pair have one direction (N0), and those around Latin letters after a
    # Hebrew one have that of the paragraph.
    images += ["אa(b)", ")ab(א", "2-1د"]
    typed += ["a(b)א", "א(ab)", "د1-2"]
    assert _typed([list(text) for text in images], tmp_path) == typed
    # A letter with its marks is one symbol (data.marks=joined): the marks stay behind it.
    joined = [["ם", "\u05d5", "ל", "ש\u05c1"], ["\u05d2", "1", "2", "ב\u05bc", "א\u05b7"]]
    assert _typed(joined, tmp_path) == ["ש\u05c1ל\u05d5ם", "א\u05b7ב\u05bc12\u05d2"]
    draw = random.Random(0)
    # All kinds of characters; then marks on brackets, and brackets in brackets.
    pools = ("אדa1\u0661-.,+$ ()[\u05b8\u062f]", "\u05d0a(\u05b8)", "\u05d0a()[]")
    texts = [draw.choices(pool, k=draw.randint(1, 9)) for pool in pools for _ in range(1000)]
    assert _typed(texts, tmp_path) == ["".join(clusters.as_typed(text)) for text in texts]
    # One step per symbol, without repeats.
    logits = np.eye(4)[[0, 1, 2]].reshape(-1).tolist()
    reader = {
        "alphabet": ["א", "ב", "1"],
        "blank": 3,
        "temperature": 1,
        "output": {"steps": 3, "classes": 4},
        "bidi_classes": ["R", "R", "EN"],
    }
    for direction, expected in (("ltr", "אב1"), ("rtl", "1בא")):
        values = {"reader": {**reader, "direction": direction}, "logits": logits}
        assert node.run("explain(input.logits, reader).text", values, tmp_path) == expected


def test_a_description_has_the_bidirectional_classes(trained: Path) -> None:
    reader = crnn_jax.load(trained)
    assert model_spec.describe(reader)["bidi_classes"] is None
    data = dataclasses.replace(reader.config.data, direction="rtl", marks="joined")
    reader.config = dataclasses.replace(reader.config, data=data)
    reader.charset = Charset("א\u05b7a1د", "rtl", "joined")
    assert model_spec.describe(reader)["bidi_classes"] == ["R", "L", "EN", "AL"]
