"""Inputs of a reader other than images: the error has the position and what is accepted."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.errors import DataError
from crnn_jax.inference.recognizer import Recognizer
from tests.helpers.images import draw


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


class Odd:
    """Raises an error of any kind when numpy asks for an array."""

    def __array__(self, *arguments: Any, **options: Any) -> None:
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    ("given", "position", "said"),
    [
        (None, 0, "None .OpenCV returns it .* is not an image"),
        (1.5, 0, "float is not an image"),
        (3, 0, "int is not an image"),
        (object(), 0, "object is not an image"),
        (Odd(), 0, "Odd is not an image"),
        ({"a.png": 1}, 0, "dict is not an image"),
        (bytearray(b"ab"), 0, "not an image of a supported format"),
        (np.array(7, np.uint8), 0, r"array uint8 \[\] is not an image"),
        (np.arange(5000), 0, r"array int64 \[5000\] is not an image"),
        (np.zeros((2, 8), np.float32), 0, r"float32 \[2, 8, 1\] has no known range; .*max_value=1"),
        (np.zeros((2, 8), bool), 0, r"bool \[2, 8, 1\] has no known range"),
        (np.zeros((2, 8), np.int64), 0, r"int64 \[2, 8, 1\] has no known range"),
        (np.zeros((2, 8), complex), 0, r"complex128 \[2, 8\] is not an image; take its magnitude"),
        (np.full((2, 8), None), 0, r"array object \[2, 8\] is not an image"),
        (np.zeros((1, 5, 8, 5), np.uint8), 0, r"must be \[H, W\]"),
        ([draw("a"), None], 1, "None .* is not an image"),
        ([draw("a"), [[1, 2], [3]]], 1, "list is not an image"),
        ([draw("a"), {}], 1, "dict is not an image"),
        ([draw("a"), draw("a"), Odd()], 2, r"Odd is not an image \(RuntimeError: odd\)"),
        ([draw("a"), b""], 1, "empty file"),
    ],
)
def test_what_is_no_picture_is_named_by_its_position(
    reader: Recognizer, given: Any, position: int, said: str
) -> None:
    for call in (reader.predict, reader.explain):
        with pytest.raises(DataError, match=f"number {position}: .*{said}"):
            call(given)


def failing() -> Iterator[Any]:
    yield draw("a")
    yield draw("b")
    raise LookupError("no\nmore")


def test_an_iterable_that_raises_costs_no_finished_work(reader: Recognizer) -> None:
    *answers, last = reader.stream(failing())
    assert [a.text for a in answers] == [a.text for a in reader.predict([draw("a"), draw("b")])]
    assert isinstance(last, DataError)
    with pytest.raises(DataError, match=r"number 2: .*raised LookupError: no\\nmore"):
        reader.predict(failing())
    with pytest.raises(DataError, match=r"None .* is not an image; accepted are paths"):
        next(reader.stream(None))


def test_a_stream_takes_what_predict_takes(reader: Recognizer, captchas: Path) -> None:
    good = sorted(captchas.iterdir())[0]
    (expected,) = reader.predict(good)
    pixels = np.asarray(Image.open(good))
    for given in (os.fspath(good), good, good.read_bytes(), pixels, pixels[None, ..., None]):
        (answer,) = reader.stream(given)
        assert answer.text == expected.text
