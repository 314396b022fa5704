"""A reader whose input has the width that fits the text of each image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.inference import evaluate, recognizer
from crnn_jax.inference.recognizer import Recognizer
from tests.helpers.images import draw


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    """The tiny reader, whose input is 16 pixels high."""
    found = recognizer.load(trained)
    found.width_by_image = True
    return found


def test_each_image_has_the_width_that_fits_its_text(
    reader: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, read = [], evaluate.read

    def spy(params: Any, images: np.ndarray, *args: Any, **options: Any) -> Any:
        shapes.append(images.shape)
        return read(params, images, *args, **options)

    monkeypatch.setattr(evaluate, "read", spy)
    images = [draw("ab", 32), draw("cab7", 160), draw("7c", 32)]
    together = reader.predict(images)
    # 1.3 * 2 = 2.6 and 1.3 * 10 = 13 times the height: 3 and 6 times. Batches have 4**n images.
    assert shapes == [(4, 48, 16, 1), (1, 96, 16, 1)]
    alone = [reader.predict(image)[0] for image in images]
    assert len(set(alone)) == 3  # otherwise the order would not show
    assert [r.text for r in together] == [r.text for r in alone]
    np.testing.assert_allclose(
        [r.confidence for r in together], [r.confidence for r in alone], rtol=1e-3
    )


def test_a_folder_is_evaluated_at_the_same_widths(reader: Recognizer, tmp_path: Path) -> None:
    """Each image has the answer that it has in a folder of its own, and the reading of predict."""
    whole = tmp_path / "whole"
    whole.mkdir()
    alone = []
    # In the order of names the widths alternate.
    for text, width in (("aa", 32), ("ac", 160), ("b7", 32), ("cab", 160)):
        single = tmp_path / text
        single.mkdir()
        for folder in (single, whole):
            draw(text, width).save(folder / f"{text}.png")
        alone += reader.evaluate(single).evaluation.answers
    answers = reader.evaluate(whole).evaluation.answers
    assert [a.file for a in answers] == ["aa.png", "ac.png", "b7.png", "cab.png"]
    assert [a.truth for a in answers] == ["aa", "ac", "b7", "cab"]
    readings = reader.predict(sorted(whole.iterdir()))
    assert len(set(readings)) == 4  # otherwise the order would not show
    assert [a.reading for a in answers] == [r.text for r in readings]
    np.testing.assert_allclose(
        [a.confidence for a in answers], [r.confidence for r in readings], rtol=1e-3
    )
    np.testing.assert_allclose([a.loss for a in answers], [a.loss for a in alone], rtol=1e-3)
