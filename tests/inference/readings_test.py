"""The table of readings in a notebook."""

import base64
import io
import pickle
import re
from pathlib import Path

import numpy as np
from PIL import Image

import crnn_jax
from crnn_jax.inference import inputs, readings
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.readings import Readings


def test_predict_returns_a_list_with_a_table(trained: Path, captchas: Path) -> None:
    reader = crnn_jax.load(trained)
    paths = sorted(captchas.iterdir())[:3]
    found = reader.predict(paths)
    assert found == list(found) == list(reader.stream(paths))
    page = found._repr_html_()
    texts = re.findall(r"<code>(.*?)</code></td><td>([\d.]+)%", page)
    assert texts == [(text, f"{confidence:.1%}"[:-1]) for text, confidence in found]
    shown = re.findall(r'src="data:image/png;base64,(.*?)"', page)
    for content, path in zip(shown, paths, strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        original = Image.open(path)
        assert image.size == original.size
        assert np.array_equal(np.asarray(image.convert("L")), np.asarray(original.convert("L")))


def test_text_is_escaped_and_large_images_are_small() -> None:
    wide = Image.new("RGB", (1000, 100))
    page = Readings([Reading("<b>&", 0.5, -4.0, False)], [wide], inputs.DEFAULT)._repr_html_()
    assert "<code>&lt;b&gt;&amp;</code>" in page
    assert "not like the training images" in page
    (content,) = re.findall(r'base64,(.*?)"', page)
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (240, 24)


def test_only_some_of_many_are_shown_and_lost_images_do_not_matter() -> None:
    upload = io.BytesIO(b"")  # was read before
    many = Readings([Reading("a", 1.0)] * 70, [upload] * 70, inputs.DEFAULT)
    page = many._repr_html_()
    assert page.count("<code>a</code>") == readings.MOST == 50
    assert page.count("(no longer available)") == 50
    assert "and 20 more" in page
    assert len(many) == 70


def test_readings_can_be_pickled_and_changed(trained: Path, captchas: Path) -> None:
    """Although their images can be open files."""
    with sorted(captchas.iterdir())[0].open("rb") as file:
        found = crnn_jax.load(trained).predict(file)
        back = pickle.loads(pickle.dumps(found))
    assert back == found
    assert (back[0].typicality, back[0].answered) == (found[0].typicality, found[0].answered)
    assert "<img" not in back._repr_html_()
    changed = Reading("a", 0.5, -4.0, False)._replace(text="b")
    assert (changed.text, changed.confidence) == ("b", 0.5)
    assert (changed.typicality, changed.answered) == (-4.0, False)
