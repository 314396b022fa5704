"""What `predict` accepts: the same picture in every form gives the same pixels, or one sentence."""

from __future__ import annotations

import array
import base64
import contextlib
import io
import os
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.errors import ConfigError, CrnnError, DataError
from crnn_jax.inference import inputs
from crnn_jax.inference.recognizer import Recognizer
from tests.helpers.images import draw

RGB = np.random.default_rng(0).integers(0, 256, (16, 64, 3), np.uint8)
PICTURE = Image.fromarray(RGB)


def png(picture: Image.Image = PICTURE) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(given: Any, **declared: Any) -> np.ndarray:
    """The RGB pixels [H, W, 3] of the one image in what is given."""
    form = inputs.Format(**declared).check()
    (item,) = list(inputs.each(given))
    return np.asarray(inputs.to_image(item, form).convert("RGB"))


class Tensor:
    """What torch, TensorFlow and others have in common."""

    shape, dtype = RGB.shape, RGB.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return RGB


class Interface:
    __array_interface__ = RGB.__array_interface__


class Exchanged:
    """A tensor of a library that only has DLPack."""

    def __dlpack__(self, **options: Any) -> Any:
        return RGB.copy().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return RGB.__dlpack_device__()


class Upload:
    """An upload of an asynchronous framework, which keeps a plain file inside."""

    def __init__(self) -> None:
        self.file = io.BytesIO(png())

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class AtItsEnd(io.BytesIO):
    """An upload that was just received."""

    def __init__(self) -> None:
        super().__init__()
        self.write(png())


def in_archive() -> zipfile.Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.png", png())
    return zipfile.Path(zipfile.ZipFile(buffer), "x.png")


FORMS: dict[str, Callable[[], Any]] = {
    "array": lambda: RGB,
    "fortran order": lambda: np.asfortranarray(RGB),
    "batch of one": lambda: RGB[None],
    "channels first": lambda: RGB.transpose(2, 0, 1)[None],
    "jax": lambda: jnp.asarray(RGB),
    "tensor": Tensor,
    "array interface": Interface,
    "dlpack": Exchanged,
    "memoryview of pixels": lambda: RGB.data,
    "bytes": png,
    "bytearray": lambda: bytearray(png()),
    "memoryview": lambda: memoryview(png()),
    "array.array": lambda: array.array("B", png()),
    "np.frombuffer": lambda: np.frombuffer(png(), np.uint8),
    "BytesIO": lambda: io.BytesIO(png()),
    "file at its end": AtItsEnd,
    "upload": Upload,
    "path in an archive": in_archive,
    "row of a table": lambda: {"bytes": png(), "path": None},
    "base64": lambda: base64.b64encode(png()).decode(),
    "base64 bytes": lambda: base64.b64encode(png()),
    "base64 in lines": lambda: base64.encodebytes(png()).decode(),
    "base64 for URLs, unpadded": lambda: base64.urlsafe_b64encode(png()).decode().rstrip("="),
    "data URI": lambda: "data:image/png;base64," + base64.b64encode(png()).decode(),
    "data URI, percent": lambda: "data:image/png," + urllib.parse.quote_from_bytes(png()),
    "data URI, both": lambda: "data:;base64," + urllib.parse.quote(base64.b64encode(png())),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_picture_in_every_form(name: str) -> None:
    np.testing.assert_array_equal(pixels(FORMS[name]()), RGB)
    np.testing.assert_array_equal(pixels([FORMS[name]()]), RGB)


@pytest.mark.parametrize("kind", ["str", "Path", "file URI", "home", "DirEntry", "open file"])
def test_any_kind_of_path(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(png())
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    with contextlib.ExitStack() as stack:
        given: dict[str, Callable[[], Any]] = {
            "str": lambda: os.fspath(path),
            "Path": lambda: path,
            "file URI": path.as_uri,
            "home": lambda: "~/a b.png",
            "DirEntry": lambda: next(stack.enter_context(os.scandir(tmp_path))),
            "open file": lambda: stack.enter_context(path.open("rb")),
        }
        np.testing.assert_array_equal(pixels(given[kind]()), RGB)


def test_the_position_in_a_file_is_kept() -> None:
    file = io.BytesIO(png())
    file.seek(3)
    np.testing.assert_array_equal(pixels(file), RGB)
    assert file.tell() == 3


def test_a_file_that_exists_is_no_base64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = base64.b64encode(png()).decode().replace("/", "_")[:60]
    black = Image.new("RGB", (4, 2))
    (tmp_path / name).write_bytes(png(black))
    assert pixels(name).shape == (2, 4, 3)


GRAY = RGB[..., 0]


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (GRAY, 1),
        (GRAY[..., None], 1),
        (GRAY[None], 1),
        (RGB[..., :2], 1),  # gray and alpha
        (np.stack([RGB] * 5), 5),
        (np.stack([GRAY] * 5), 5),
        (np.stack([GRAY] * 5)[..., None], 5),
        (np.stack([GRAY] * 5)[:, None], 5),
        (np.stack([RGB] * 5).transpose(0, 3, 1, 2), 5),
        (np.zeros((0, 16, 64, 3), np.uint8), 0),
    ],
)
def test_the_shape_says_how_many_images(given: np.ndarray, count: int) -> None:
    assert len(list(inputs.each(given))) == count
    assert len(list(inputs.each(jnp.asarray(given)))) == count


@pytest.mark.parametrize(
    "given",
    [
        RGB.transpose(2, 0, 1),  # or three gray images
        np.stack([GRAY] * 4),
        np.zeros((50, 200, 7), np.uint8),
        np.zeros((4, 3, 64, 3), np.uint8),
        np.zeros((2, 2, 16, 64, 3), np.uint8),
        np.zeros((0, 64), np.uint8),
        np.arange(9.0),
        [[0, 255], [255, 0]],
        [0, 255],
        np.full((50, 3), "x", object),
        np.arange(9.0).data,
    ],
)
def test_an_ambiguous_shape_is_one_sentence(given: Any) -> None:
    with pytest.raises(DataError, match="number 0: ") as error:
        inputs.each(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "white"),
    [
        (RGB / 255, 1),
        ((RGB / 255).astype(np.float16), 1),
        (jnp.asarray(RGB / 255, jnp.bfloat16), 1.0),
        (RGB.astype(np.float32), 255),
        (RGB.astype(np.int64), 255),
        (RGB.astype(np.uint16) * 257, 65535),
        (RGB.astype(np.uint16) * 257 >> 4, 4095),
    ],
)
def test_other_types_are_declared_or_refused(given: Any, white: float) -> None:
    with pytest.raises(DataError, match="no known range"):
        pixels(given)
    coarse = 1 if np.asarray(given).dtype.itemsize == 2 else 0
    assert np.abs(pixels(given, max_value=white).astype(int) - RGB).max() <= coarse
    with pytest.raises(DataError, match="not from 0 to max_value"):
        pixels(given, max_value=white / 2)


def test_a_declared_range_holds_for_every_value() -> None:
    scaled = RGB / 127.5 - 1  # as many models expect it
    with pytest.raises(DataError, match="from -1 to 1"):
        pixels(scaled, max_value=1)
    with pytest.raises(DataError, match="from nan to nan"):
        pixels(np.full((16, 64), np.nan), max_value=1)
    mask = np.eye(16, dtype=bool)
    assert np.unique(pixels(mask, max_value=1)).tolist() == [0, 255]


def test_scaled_values_are_rounded_and_white_may_exceed_its_value_by_rounding() -> None:
    """0.999 * 255 is 254.745. The float32 after 1 is 1.00000012."""
    for value in (np.full((16, 64), 0.999), np.full((16, 64), np.nextafter(np.float32(1), 2))):
        assert np.unique(pixels(value, max_value=1)).tolist() == [255]
    with pytest.raises(DataError, match=r"from 1\.0001 to 1\.0001"):
        pixels(np.full((16, 64), 1.0001), max_value=1)


@pytest.mark.parametrize("channels", [3, 4])
def test_bgr_arrays_of_opencv(channels: int) -> None:
    alpha = np.full((16, 64, 1), 255, np.uint8)
    bgr = np.concatenate((RGB[..., ::-1], alpha), -1)[..., :channels]
    np.testing.assert_array_equal(pixels(bgr, order="bgr"), RGB)
    np.testing.assert_array_equal(pixels(GRAY, order="bgr")[..., 0], GRAY)
    np.testing.assert_array_equal(pixels(png(), order="bgr"), RGB)  # a file states its order


@pytest.mark.parametrize(
    "declared",
    [{"order": "gbr"}, {"max_value": 0}, {"max_value": "1"}, {"max_value": np.nan},
     {"max_value": np.complex64(1)}, {"frame": "x"}],
)  # fmt: skip
def test_a_wrong_declaration_is_refused(declared: Any, trained: Path) -> None:
    (name,) = declared
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        crnn_jax.load(trained).predict(GRAY, **declared)


def text_file() -> Any:
    return io.StringIO("text")


def closed() -> Any:
    file = io.BytesIO(png())
    file.close()
    return file


class Asynchronous:
    async def read(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (text_file(), "mode 'rb'"),
        (closed(), "closed file"),
        (Asynchronous(), "await file.read"),
        (io.BytesIO(), "empty file"),
        ("https://example.org/x.png", "download the file"),
        ("data:image/png;base64,%%%", "damaged"),
        ("data:image/png", "comma"),
        ("data:image/svg+xml,%3Csvg xmlns=''/%3E", "SVG"),
        ("A" * 4000, "neither the path of an existing file nor"),
        (str(png()), r"a string of \d+ characters is neither"),
        (f'<img src="data:image/png;base64,{"A" * 300}">', "neither the path of an existing file"),
        ("", "the path is empty"),
        (os.fsencode(__file__).replace(b".py", b".png"), "these bytes are a path"),
        (base64.b64encode(png()[:60]).decode(), "not a readable image"),
        (os.path.dirname(__file__), "it is a folder; pass the paths of its images"),
        ([png(), None], "number 1: None"),
        ([png(), float("nan")], "number 1: a missing value"),
        ([png(), np.stack([GRAY] * 5)], "holds 5 images; each item must be one"),
    ],
)
def test_what_cannot_be_read_says_why(trained: Path, given: Any, said: str) -> None:
    with pytest.raises(CrnnError, match=said) as error:
        crnn_jax.load(trained).predict(given)
    lines = str(error.value).splitlines()
    assert max(map(len, lines)) < 500
    assert len(lines) <= 2


def test_long_lists_of_complaints_are_capped(trained: Path) -> None:
    reader = crnn_jax.load(trained)
    with pytest.raises(DataError) as error:
        reader.predict([None] * 90)
    lines = str(error.value).splitlines()
    assert lines[0] == "90 of 90 cannot be read:"
    assert "number 19: " in lines[20]
    assert lines[21:] == ["  ... and 70 more"]


def test_declarations_reach_every_call(trained: Path) -> None:
    reader: Recognizer = crnn_jax.load(trained)
    picture = draw("ab7")
    (expected,) = reader.predict(picture)
    floats = np.asarray(picture) / 255
    (reading,) = reader.predict(floats, max_value=1)
    (explained,) = reader.explain(floats, max_value=1)
    (streamed,) = reader.stream(floats, max_value=1)
    assert {reading.text, explained.text, streamed.text} == {expected.text}
