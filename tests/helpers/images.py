"""Small images: drawn, written to a folder, and encoded as files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def draw(text: str, width: int = 64, height: int = 16) -> Image.Image:
    """Dark text on light gray, one character after the other."""
    image = Image.new("L", (width, height), 220)
    pen = ImageDraw.Draw(image)
    for i, character in enumerate(text):
        pen.text((6 + 14 * i, 2), character, fill=20)
    return image


def write_captchas(folder: Path, count: int = 40) -> None:
    """Writes images of distinct texts over 'abc7', with 2 to 4 characters."""
    rng = np.random.default_rng(0)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts["".join(rng.choice(list("abc7"), rng.integers(2, 5)))] = None
    for text in texts:
        draw(text).save(folder / f"{text}.png")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Returns an image file of a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file, with its length and checksum."""
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum
