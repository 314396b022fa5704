"""Transparency, depth and frames: what an image file shows, against pixels drawn here."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.data import folder, image_io
from crnn_jax.errors import ConfigError, DataError
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw, encoded, png_chunk

INK = 255 - np.asarray(
    draw("ab7").point(lambda v: 0 if v < 128 else 255)
)  # u8 [16, 64], 255 on ink
SHOWN = 255 - INK  # black on white


def gray(content: Any, frame: str = "") -> np.ndarray:
    """The pixels [H, W] that the model gets."""
    return image_io.to_array(image_io.open_image(content, frame), CONFIG)[..., 0].T


def with_alpha(color: int, alpha: np.ndarray) -> Image.Image:
    plane = Image.fromarray(np.full_like(alpha, color))
    return Image.merge("RGBA", [plane, plane, plane, Image.fromarray(alpha)])


@pytest.mark.parametrize("color", [0, 255, 250])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "WEBP", "GIF", "hidden color", "palette"])
def test_ink_in_the_transparency_alone_reads_as_it_looks(color: int, kind: str) -> None:
    image = with_alpha(color, INK)
    content = encoded(image)
    if kind == "LA":
        content = encoded(image.convert("LA"))
    elif kind == "WEBP":
        content = encoded(image, "WEBP", lossless=True, exact=True)
    elif kind in ("GIF", "palette"):
        flat = Image.fromarray(np.where(INK > 0, 1, 0).astype(np.uint8), "L").convert("P")
        flat.putpalette([0, 0, 0, color, color, color])
        content = encoded(flat, "GIF" if kind == "GIF" else "PNG", transparency=0)
    elif kind == "hidden color":  # black wherever nothing is seen
        pixels = np.asarray(image) * (INK[..., None] > 0)
        content = encoded(Image.fromarray(pixels.astype(np.uint8)))
    np.testing.assert_allclose(gray(content), SHOWN, atol=0 if color != 250 else 5)


def test_a_stencil_shows_its_holes() -> None:
    """White paper with the text cut out."""
    np.testing.assert_array_equal(gray(encoded(with_alpha(255, SHOWN))), SHOWN)


def test_visible_ink_is_not_changed_by_its_transparency() -> None:
    """Dark ink on opaque paper with clear corners, and gray ink, lie on white."""
    paper = np.asarray(Image.fromarray(SHOWN).convert("RGBA")).copy()
    paper[:2, :2] = paper[-2:, -2:] = 0
    np.testing.assert_array_equal(gray(encoded(Image.fromarray(paper))), SHOWN)
    assert gray(encoded(with_alpha(200, INK))).min() == 200
    assert gray(encoded(with_alpha(255, np.full_like(INK, 30)))).min() == 255  # nothing to see


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_few_bits_in_a_16_bit_file(bits: int, kind: str) -> None:
    levels = np.tile(np.arange(64, dtype=np.uint16) * 4 + 3, (16, 1))  # 3, 7, ... 255
    deep = levels << (bits - 8)
    np.testing.assert_array_equal(gray(encoded(Image.fromarray(deep), kind)), levels)


def color_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB or RGBA [H, W, C], which Pillow cannot write."""
    height, width, channels = pixels.shape

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = (
        png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_few_bits_in_a_16_bit_color_file(bits: int, channels: int) -> None:
    levels = np.tile(np.arange(64, dtype=np.uint16) * 4 + 3, (16, 1))
    deep = np.stack([levels] * channels, -1) << (bits - 8)
    deep[..., 3:] = (1 << bits) - 1
    step = 17 if bits == 12 else 1  # Pillow keeps the upper four of twelve bits
    assert np.abs(gray(color_png(deep)).astype(int) - levels).max() < step


def test_a_transparent_gray_level_of_16_bits() -> None:
    deep = np.where(INK > 0, 500, 60000).astype(np.uint16)
    content = encoded(Image.fromarray(deep), transparency=60000)
    assert np.unique(gray(content)).tolist() == [500 >> 8, 255]


DARK, BRIGHT = np.full((16, 64), 60, np.uint8), np.full((16, 64), 200, np.uint8)
FRAMES = np.stack([BRIGHT, DARK, BRIGHT, np.full((16, 64), 100, np.uint8)])
FRAMES[0, :, :10], FRAMES[1, :, :10], FRAMES[3, :, :10] = 0, 90, 33
EXPECTED = {  # first and other columns
    "first": (0, 200),
    "last": (33, 100),
    "darkest": (0, 60),
    "mean": (81, 140),  # (0 + 90 + 200 + 33) / 4 = 80.75, (200 + 60 + 200 + 100) / 4
}


def animation(kind: str, frames: np.ndarray = FRAMES) -> bytes:
    first, *others = map(Image.fromarray, frames)
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(first, kind, save_all=True, append_images=others, duration=50, **options)


@pytest.mark.parametrize("frame", EXPECTED)
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_frame_of_the_user_s_choice(kind: str, frame: str) -> None:
    content = animation(kind)
    found = gray(content, frame)
    assert (found[8, 2], found[8, 30]) == EXPECTED[frame]
    with Image.open(io.BytesIO(content)) as opened:
        again = image_io.to_array(image_io.decode(opened, frame), CONFIG)[..., 0].T
        assert opened.tell() == 0
    np.testing.assert_array_equal(again, found)


def test_an_animation_without_a_choice_is_refused_unless_it_was_moved() -> None:
    with pytest.raises(DataError, match=r"data\.frame"):
        gray(animation("GIF"))
    with Image.open(io.BytesIO(animation("GIF"))) as opened:
        with pytest.raises(DataError, match=r"data\.frame"):
            image_io.decode(opened)
        opened.seek(1)
        assert image_io.to_array(image_io.decode(opened), CONFIG)[30, 8] == 60


def test_pages_of_other_sizes_and_too_many_frames() -> None:
    pages = [Image.fromarray(BRIGHT), Image.fromarray(DARK[:, :30])]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert gray(content, "last").max() == 60
    with pytest.raises(DataError, match="differ in size"):
        gray(content, "mean")
    many = animation("GIF", np.arange(300, dtype=np.uint16)[:, None, None].astype(np.uint8) % 251
                     + np.zeros((300, 4, 4), np.uint8))  # fmt: skip
    assert gray(many, "first").max() == 0
    with pytest.raises(DataError, match="300 frames are too many"):
        gray(many, "darkest")


def test_the_tags_of_every_page_are_counted() -> None:
    """A second page whose directory claims more values than the file has bytes."""
    content = bytearray(animation("TIFF"))
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * tags)
    struct.pack_into("<I", content, second + 2 + 4, 10**6)  # the count of its first tag
    for frame in ("first", "last"):
        with pytest.raises(DataError, match="too many values"):
            gray(bytes(content), frame)


def test_a_folder_of_animations_trains_on_the_chosen_frame(tmp_path: Path) -> None:
    (tmp_path / "ab.gif").write_bytes(animation("GIF"))
    config = dataclasses.replace(CONFIG, dir=os.fspath(tmp_path))
    with pytest.raises(DataError, match=r"data\.frame"):
        folder.load(config, None, 16)
    for frame, (left, right) in EXPECTED.items():
        chosen: Any = frame
        data = folder.load(dataclasses.replace(config, frame=chosen), None, 16)
        assert data.images[0, [2, 30], 8, 0].tolist() == [left, right]


def test_predict_reads_the_chosen_frame(trained: Path) -> None:
    reader = crnn_jax.load(trained)
    texts = [draw("ab7"), draw("cc")]
    content = encoded(texts[0], "GIF", save_all=True, append_images=texts[1:])
    for frame, picture in (("first", texts[0]), ("last", texts[1])):
        (reading,), (expected,) = reader.predict(content, frame=frame), reader.predict(picture)
        assert reading.text == expected.text
    data = dataclasses.replace(reader.config.data, frame="last")
    reader.config = dataclasses.replace(reader.config, data=data)
    assert reader.predict(content)[0].text == expected.text


@pytest.mark.parametrize("width_by_image", [False, True])
def test_evaluate_reads_the_chosen_frame(
    trained: Path, tmp_path: Path, width_by_image: bool
) -> None:
    reader = crnn_jax.load(trained)
    reader.width_by_image = width_by_image
    pictures = [draw("ab7"), draw("cc")]
    (tmp_path / "cc.gif").write_bytes(
        encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    )
    with pytest.raises(DataError, match="--frame"):
        reader.evaluate(tmp_path)
    (expected,) = reader.predict(pictures[1])
    (answer,) = reader.evaluate(tmp_path, frame="last").evaluation.answers
    assert (answer.reading, answer.confidence) == (expected.text, pytest.approx(expected[1], 1e-3))
    with pytest.raises(ConfigError, match="only for a folder"):
        reader.evaluate(frame="last")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "rsvg-"),
        (b'\xef\xbb\xbf <svg width="9"/>', "SVG"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"%PDF-1.7", "PDF"),
        (b"other", "not an image of a supported format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "a damaged PNG file"),
        (b"\n\x89PNG\r\n\x1a\n" + bytes(60), "a damaged PNG file"),
        (b"\x89PNG\r\r\n\x1a\r\n" + bytes(60), "a PNG file that was changed as text"),
        (b"\x89PNG\n\x1a\n" + bytes(60), "a PNG file that was changed as text"),
        ("\ufffdPNG\r\n\x1a\n".encode() + bytes(60), "a PNG file that was changed as text"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "a JPEG file that is damaged or"),
        (b"RIFF\x10\0\0\0WEBP" + bytes(60), "a WebP file that is damaged or"),
        (b"RIFF\x10\0\0\0WAVE" + bytes(60), "not an image of a supported format"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64 text"),
        (b'"/9j/4AAQSkZJRgABAQEA"', "base64 text"),
        (b"data:image/png;base64,iVBORw0KGgo", "a data URI"),
        (b'{"error": "rate limit"}', "JSON text"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x89PNG", "an HTTP response"),
    ],
)
def test_other_formats_say_how_to_convert_them(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        image_io.open_image(content)
