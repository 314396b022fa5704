"""Untrusted images: of every kind, mutated, and malicious."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.helpers.images import encoded, png_chunk


def kinds(image: Image.Image) -> dict[str, bytes]:
    """One small gray image in formats and modes that look the same."""
    grey, colour = image.convert("L"), image.convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6  # rotate by 90 degrees clockwise
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = colour.convert("RGBA")
    clear.putalpha(254)
    return {
        "grey.png": encoded(grey, "PNG"),
        "colour.png": encoded(colour, "PNG", icc_profile=b"\0" * 3000),
        "clear.png": encoded(clear, "PNG"),
        "palette.png": encoded(colour.quantize(32), "PNG", transparency=99),
        "deep.png": encoded(deep, "PNG"),
        "turned.png": encoded(grey.transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned),
        "wrong extension.jpg": encoded(grey, "PNG"),
        "grey.jpg": encoded(grey, "JPEG", quality=95),
        "progressive.jpg": encoded(colour, "JPEG", quality=95, progressive=True),
        "turned.jpg": encoded(
            colour.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=turned
        ),
        "cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG", quality=95),
        "grey.bmp": encoded(grey, "BMP"),
        "grey.gif": encoded(grey, "GIF"),
        "grey.webp": encoded(colour, "WEBP", lossless=True),
        "lossy.webp": encoded(colour, "WEBP", quality=95),
        "grey.tif": encoded(grey, "TIFF"),
        "deflated.tif": encoded(colour, "TIFF", compression="tiff_adobe_deflate"),
        "cmyk.tif": encoded(colour.convert("CMYK"), "TIFF"),
        "deep.tif": encoded(deep, "TIFF"),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    """Files that are not single images or would cost too much: bytes, and a part of the error."""
    small = Image.new("L", (64, 16), 200)
    frames = [Image.new("L", (64, 16), i) for i in (0, 100, 200)]
    animated = {"save_all": True, "append_images": frames[1:], "duration": 50}
    png = encoded(small, "PNG")
    return {
        "empty.png": (b"", "empty file"),
        "text.png": (b"no picture", "not an image"),
        "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "cut off.png": (png[: len(png) // 2], "not a readable image"),
        "animated.gif": (encoded(frames[0], "GIF", **animated), "it has several frames"),
        "animated.png": (encoded(frames[0], "PNG", **animated), "it has several frames"),
        "animated.webp": (encoded(frames[0], "WEBP", **animated), "it has several frames"),
        "pages.tif": (encoded(frames[0], "TIFF", **animated), "it has several frames"),
        "claims.png": (_png(60000, 60000, b""), "pixels"),
        "bomb.png": (_png(8000, 8000, zlib.compress(b"\0" * 8001 * 8000, 9)), "pixels"),
        "text bomb.png": (_png(64, 16, b"", _text_bomb()), "not a readable image"),
        "claims.gif": (_patched(encoded(small, "GIF"), 6, "<HH", 65535, 65535), "pixels"),
        "claims.bmp": (_patched(encoded(small, "BMP"), 18, "<ii", 2**30, 2**30), "pixels"),
        "tile bomb.tif": (_tile_bomb(), "tiles of more than"),
        "scan bomb.jpg": (_scan_bomb(), "scans"),
        "large.png": (png + b"\0" * 2**24, "bytes are too many"),
        "float.tif": (encoded(small.convert("F"), "TIFF"), "mode F"),
        "32 bits.tif": (encoded(small.convert("I"), "TIFF"), "mode I"),
    }


def mutate(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """Returns a file with one of nine kinds of faults, or with several."""
    data = bytearray(content)
    for _ in range(int(rng.choice((1, 1, 1, 2, 4)))):
        if not data:
            break
        place, length = int(rng.integers(len(data))), int(rng.geometric(0.05))
        match int(rng.integers(9)):
            case 0:  # truncated
                del data[place:]
            case 1:  # flipped bits
                for i in rng.integers(len(data), size=int(rng.integers(1, 20))):
                    data[i] ^= 1 << int(rng.integers(8))
            case 2:  # an overwritten range
                data[place : place + length] = rng.bytes(min(length, len(data) - place))
            case 3:
                data[place : place + length] = b"\xff" * min(length, len(data) - place)
            case 4:  # removed, inserted, repeated
                del data[place : place + length]
            case 5:
                data[place:place] = rng.bytes(length)
            case 6:
                data[place:place] = data[place : place + 10 * length]
            case 7:  # an extreme number, mostly in the first bytes, which contain sizes
                place = int(rng.integers(min(len(data), 64)))
                number = int(rng.choice((0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)))
                data[place : place + 4] = struct.pack(rng.choice(("<I", ">I")), number)
            case 8:  # the start of one file and the end of another
                data[place:] = other[int(rng.integers(len(other))) :]
    return bytes(data)


def _patched(content: bytes, place: int, form: str, *values: int) -> bytes:
    patch = struct.pack(form, *values)
    return content[:place] + patch + content[place + len(patch) :]


def _png(width: int, height: int, pixels: bytes, before: bytes = b"") -> bytes:
    """Gray, 8 bits."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


def _text_bomb() -> bytes:
    """A compressed comment of 200 MB."""
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9))


def _tile_bomb() -> bytes:
    """64x16 pixels in one tile of 400 million."""
    width, height = 64, 16
    pixels = zlib.compress(b"\0" * 20000 * 200, 9)
    entries = [
        *((256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1)),
        *((322, 20000), (323, 20000), (324, 0), (325, len(pixels))),
    ]
    offset = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack("<HHII", tag, 4, 1, offset if tag == 324 else value) for tag, value in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + pixels


def _scan_bomb() -> bytes:
    """A progressive JPEG whose last scan is repeated two thousand times."""
    content = encoded(Image.new("L", (2000, 2000), 90), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * 2000 + content[-2:]
