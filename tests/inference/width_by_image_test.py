"""A reader whose input has the width that fits the text of each image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn_jax.inference import evaluate, recognizer
from crnn_jax.inference.recognizer import Recognizer


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    """The tiny reader, whose input is 16 pixels high."""
    found = recognizer.load(trained)
    found.width_by_image = True
    return found


def _image(width: int) -> np.ndarray:
    """An image of width x 20 pixels with ink in it."""
    pixels = np.full((20, width), 255, np.uint8)
    pixels[5:15, width // 4 : width // 2] = 0
    return pixels


def test_each_image_has_the_width_that_fits_its_text(
    reader: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, read = [], evaluate.read

    def spy(params: object, images: np.ndarray, *args: object, **options: object) -> object:
        shapes.append(images.shape)
        return read(params, images, *args, **options)

    monkeypatch.setattr(evaluate, "read", spy)
    images = [_image(40), _image(200), _image(40)]
    together = reader.predict(images)
    # 1.3 * 2 = 2.6 and 1.3 * 10 = 13 times the height: 3 and 6 times. Batches have 4**n images.
    assert shapes == [(4, 48, 16, 1), (1, 96, 16, 1)]
    alone = [reader.predict(image)[0] for image in images]
    assert [r.text for r in together] == [r.text for r in alone]
    np.testing.assert_allclose(
        [r.confidence for r in together], [r.confidence for r in alone], rtol=1e-3
    )


def test_a_folder_is_evaluated_at_the_same_widths(reader: Recognizer, tmp_path: Path) -> None:
    for name, width in (("aa", 40), ("b", 200), ("cc", 200), ("ac", 40)):
        Image.fromarray(_image(width)).save(tmp_path / f"{name}.png")
    files = sorted(tmp_path.iterdir())
    answers = reader.evaluate(tmp_path).evaluation.answers
    assert [a.file for a in answers] == [file.name for file in files]
    assert [a.truth for a in answers] == ["aa", "ac", "b", "cc"]
    readings = reader.predict(files)
    assert [a.reading for a in answers] == [r.text for r in readings]
    np.testing.assert_allclose(
        [a.confidence for a in answers], [r.confidence for r in readings], rtol=1e-3
    )
    # The images of a width have the same pixels here, so at most two texts are read.
    assert len({a.reading for a in answers}) <= 2
