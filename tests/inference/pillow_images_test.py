"""Pillow images that are given as objects: frames, and the same object several times."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

import crnn_jax
from crnn_jax.errors import DataError
from crnn_jax.inference.recognizer import Recognizer
from tests.helpers.images import draw

TEXTS = ("ab7", "cc", "7b", "a", "bc7")


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


@pytest.fixture(scope="module")
def expected(reader: Recognizer) -> list[str]:
    """The readings of separate images."""
    texts = [reading.text for reading in reader.predict([draw(text) for text in TEXTS])]
    assert len(set(texts)) > 2
    return texts


def pages() -> Image.Image:
    buffer = io.BytesIO()
    first, *others = [draw(text) for text in TEXTS]
    first.save(buffer, "TIFF", save_all=True, append_images=others)
    return Image.open(buffer)


def moved(image: Image.Image) -> Iterator[Image.Image]:
    """Yields the same object for each frame but the first."""
    for place in range(1, len(TEXTS)):
        image.seek(place)
        yield image


def test_every_frame_of_an_iterator_is_read(reader: Recognizer, expected: list[str]) -> None:
    frames: Callable[[], Any] = lambda: ImageSequence.Iterator(pages())  # noqa: E731
    assert [reading.text for reading in reader.predict(frames())] == expected
    assert [reading.text for reading in reader.stream(frames())] == expected


def test_an_image_that_is_moved_is_read_where_it_was(
    reader: Recognizer, expected: list[str]
) -> None:
    assert [reading.text for reading in reader.predict(moved(pages()))] == expected[1:]
    assert [reading.text for reading in reader.stream(moved(pages()))] == expected[1:]


def test_an_object_that_occurs_often_is_decoded_once(
    reader: Recognizer, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow images are not thread-safe."""
    image, count = draw(TEXTS[0]), 0
    decode = reader.to_input

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return decode(*arguments, **options)

    monkeypatch.setattr(reader, "to_input", counted)
    readings = reader.predict([image] * 16 + [draw(TEXTS[1])])
    assert [reading.text for reading in readings] == [expected[0]] * 16 + [expected[1]]
    assert count == 2


def test_a_damaged_frame_is_an_error_of_its_own(reader: Recognizer) -> None:
    class Broken(Image.Image):
        is_animated = True

        def tell(self) -> int:
            raise OSError("cut off")

    found = list(reader.stream([draw("a"), Broken(), draw("b")]))
    assert [isinstance(item, DataError) for item in found] == [False, True, False]
    assert "cut off" in str(found[1])
