"""Explanations: places, probabilities and alternatives."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.inference import batch_reading
from crnn_jax.inference.recognizer import Recognizer


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


def test_an_explanation_says_where_each_character_stands(
    reader: Recognizer, captchas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_reading, "BATCH", 8)  # 40 in five batches of one program
    paths = sorted(captchas.iterdir())
    explanations, readings = reader.explain(paths), reader.predict(paths)
    assert [e.text for e in explanations] == [reading.text for reading in readings]
    # Another program, so it rounds differently.
    np.testing.assert_allclose(
        [e.confidence for e in explanations], [r.confidence for r in readings], rtol=1e-4
    )
    distances = []
    for path, explained in zip(paths, explanations, strict=True):
        text, confidence, characters, alternatives, *_ = explained
        assert len(alternatives) == len({other.text for other in alternatives}) == 5
        probabilities = [other.confidence for other in alternatives]
        assert probabilities == sorted(probabilities, reverse=True)
        same = [other.confidence for other in alternatives if other.text == text]
        assert same == [pytest.approx(confidence, rel=0.02)]  # a beam of 16 drops hardly any path
        assert "".join(c.symbol for c in characters) == text
        assert all(0 <= c.left < c.right <= 1 for c in characters)
        assert [c.left for c in characters] == sorted(c.left for c in characters)
        # The confidence of the text is at most that of any of its characters given the others.
        assert all(confidence <= c.probability + 1e-4 <= 1.001 for c in characters)
        if text == path.stem:
            # `draw` puts character i at 6 + 14 i of 64 pixels; they are about six wide.
            distances += [
                abs((c.left + c.right) / 2 - (9 + 14 * i) / 64) for i, c in enumerate(characters)
            ]
    assert len(distances) > 20
    assert np.median(distances) < 7 / 64  # half of the distance between two characters


def test_alternatives_have_the_form_that_is_given(reader: Recognizer, captchas: Path) -> None:
    paths = sorted(captchas.iterdir())[:8]
    decoder = reader.decoder(length=3, allowed="abc")
    for explained in reader.explain(paths, decoder):
        texts = [other.text for other in explained.alternatives]
        assert 1 <= len(texts) == len(set(texts)) <= 5
        assert explained.text in texts
        assert all(len(text) == 3 and set(text) <= set("abc") for text in texts)
        shares = [other.confidence for other in explained.alternatives]
        assert shares == sorted(shares, reverse=True)
    # At each position its own symbols.
    (explained,) = reader.explain(paths[0], reader.decoder(allowed=["a", "bc"]))
    assert all(text[0] == "a" and text[1] in "bc" for text, _ in explained.alternatives)


def test_places_of_a_cropped_image_are_those_of_the_whole(trained: Path, captchas: Path) -> None:
    # On a canvas three times as wide, the crop is the same, and places move to the middle third.
    reader = crnn_jax.load(trained)
    data = dataclasses.replace(reader.config.data, crop=True)
    reader.config = dataclasses.replace(reader.config, data=data)
    image = Image.open(sorted(captchas.iterdir())[0])
    wide = Image.new("L", (3 * image.width, image.height), 220)
    wide.paste(image, (image.width, 0))
    near, far = reader.explain([image, wide])
    assert far.text == near.text != ""
    for a, b in zip(near.characters, far.characters, strict=True):
        assert b.left == pytest.approx((1 + a.left) / 3, abs=1e-6)
        assert b.right == pytest.approx((1 + a.right) / 3, abs=1e-6)
