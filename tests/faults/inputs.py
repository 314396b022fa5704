"""Mutated styles and images, and small files that are expensive to read: also in the long run."""

from __future__ import annotations

import dataclasses
import json
import math
import random as random_lib
import resource
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.data import image_io
from crnn_jax.data.synthetic import presets
from crnn_jax.data.synthetic.style import Style
from crnn_jax.errors import ConfigError, DataError
from tests.faults import strangers
from tests.helpers.images import draw, encoded, png_chunk

# ------------------------------------------------------------------------------ styles

_NUMBERS = (0, -1, 1, 15, 16, 4097, 1e308, -1e308, math.nan, math.inf, -math.inf, 1e-320, 2**31,
            10**30, 10**400, 5000, 100_000)  # fmt: skip
_OTHERS: tuple[Any, ...] = (
    True, False, None, "", "a", "\ud800", "\0", "\x1b[31m", "e\u0301", "=1+1", '",\n', {},
    [], {"a": 1}, [[]], [[1, 2]], "a" * 1_000_000, [1] * 5000, ["x"] * 5000, "/dev/zero",
    "x" * 5000,
)  # fmt: skip


def styles(work: Path, random: random_lib.Random, scale: float) -> dict[str, int]:
    """Loads 20,000 mutated style files: each is a valid style, or is refused in one line."""
    path, accepted, refused = work / "style.json", 0, 0
    for _ in range(int(20_000 * scale)):
        content, keys = mutated_style(random)
        path.write_bytes(content)
        try:
            check_style(presets.load(str(path)))
            accepted += 1
        except ConfigError as error:
            refused += 1
            message = str(error)
            assert "\n" not in message, message
            assert "\x1b" not in message, message
            assert len(message) < 5000, message
            assert not keys or any(key in message for key in keys), (keys, message)
    return {"styles accepted": accepted, "styles refused": refused}


def mutated_style(random: random_lib.Random) -> tuple[bytes, list[str]]:
    """A style file, and keys, one of which an error must name (none if the JSON is damaged)."""
    name = random.choice(list(presets.STYLES))
    values = json.loads(json.dumps(dataclasses.asdict(presets.STYLES[name])))
    keys = random.sample(list(values), random.choice((1, 1, 1, 2, 3)))
    for key in keys:
        values[key] = _mutated(random, values[key])
    if "length" in keys or "spacing" in keys or "width" in keys:
        keys.append("left")  # the rule about the size names these three
    try:
        content = json.dumps(values).encode()
    except ValueError:  # an integer of more than 4300 digits
        return mutated_style(random)
    if random.random() < 0.2:
        return strangers.mutate(np.random.default_rng(random.getrandbits(32)), content, b"{}"), []
    return content, keys


def _mutated(random: random_lib.Random, value: Any) -> Any:
    if isinstance(value, list) and value and random.random() < 0.6:
        place = random.randrange(len(value))
        return [*value[:place], _mutated(random, value[place]), *value[place + 1 :]]
    match random.randrange(4):
        case 0:
            return random.choice(_NUMBERS)
        case 1:
            return random.choice(_OTHERS)
        case 2 if isinstance(value, (int, float)):
            return type(value)(value * random.uniform(-2, 2))
        case _:
            return [random.choice(_NUMBERS) for _ in range(random.randrange(4))]


def check_style(style: Style) -> None:
    """Checks limits that no realistic style exceeds, whatever the package declares."""
    numbers = list(_numbers(dataclasses.astuple(style)))
    assert all(math.isfinite(n) and abs(n) <= 10_000 for n in numbers), style
    assert style.width >= 16
    assert style.width * style.height <= 2**20
    assert len(set(style.alphabet)) == len(style.alphabet) <= 5000
    assert style.alphabet.isprintable()
    assert 1 <= style.length[0] <= style.length[1] <= 1000
    assert 0 <= style.curves[0] <= style.curves[1] <= 100
    assert min(style.curve_width) > 0
    assert 0 <= style.paper[0] <= style.paper[1] <= 255
    assert hash(style) == hash(dataclasses.replace(style))


def _numbers(value: Any) -> Any:
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)):
        yield value


# ------------------------------------------------------------------------------ images


def images(work: Path, random: random_lib.Random, scale: float) -> dict[str, int]:
    """Reads 100,000 mutated images: each yields an array, or a DataError of one line."""
    del work
    config: Any = SimpleNamespace(width=64, height=16, channels=1)
    rng = np.random.default_rng(random.getrandbits(32))
    kinds = [*strangers.kinds(draw("ab7")).values(), premultiplied_tiff()]
    read = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(int(100_000 * scale)):
        one, other = rng.integers(len(kinds), size=2)
        config.channels = int(rng.choice((1, 3)))
        try:
            image = image_io.open_image(strangers.mutate(rng, kinds[one], kinds[other]))
            array = image_io.to_array(image, config)
            assert array.shape == (64, 16, config.channels)
            read += 1
        except DataError as error:
            refused += 1
            message = str(error)
            assert "\n" not in message, message
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {"images read": read, "images refused": refused, "MB grown over them": grown}


def costly() -> dict[str, tuple[bytes, str]]:
    """Files of at most 16 MB that would take seconds or gigabytes: bytes, a part of the error."""
    png, jpeg = (encoded(draw("a"), kind) for kind in ("PNG", "JPEG"))
    gif = encoded(draw("a"), "GIF")
    place = 13 + (3 * 2 ** ((gif[10] & 7) + 1) if gif[10] & 0x80 else 0)
    many, blocks = 2**17, "too many small blocks"
    rationals = _tiff([(274, 5, 1_000_000)])
    profile = png_chunk(b"iCCP", b"C\0\0" + zlib.compress(b"a" * 100_000, 9))
    segments = [rationals[i : i + 65_000] for i in range(0, len(rationals), 65_000)]
    exif = b"".join(_segment(0xE1, b"Exif\0\0" + part) for part in segments)
    return {
        "chunks.png": (png[:33] + png_chunk(b"abCd", b"") * many + png[33:], blocks),
        "texts.png": (png[:33] + png_chunk(b"tEXt", b"") * many + png[33:], blocks),
        "profiles.png": (png[:33] + profile * 100 + png[33:], "color profiles"),
        "exif.png": (png[:33] + png_chunk(b"eXIf", rationals) + png[33:], "too many values"),
        "comment.gif": (gif[:place] + b"!\xfe" + b"\1a" * 2**19 + b"\0" + gif[place:], blocks),
        "blocks.gif": (gif[:-2] + b"\1a" * 2**19 + b"\0;", blocks),
        "zeros.gif": (gif[:place] + b"\0" * 2**19 + gif[place:], blocks),
        "runs.bmp": (_bmp(b"\1\5" * 2**20), blocks),
        "deltas.bmp": (_bmp(b"\0\2\0\0" * 2**19), blocks),
        "markers.jpg": (jpeg[:2] + _segment(0xE5, b"") * 2**18 + jpeg[2:], blocks),
        "fill.jpg": (jpeg[:2] + b"\xff" * 2**20 + jpeg[2:], blocks),
        "exif.jpg": (jpeg[:2] + exif + jpeg[2:], "EXIF segments"),
        "mpo.jpg": (_mpo(), "scans"),
        "values.tif": (rationals, "too many values"),
        "strips.tif": (_tiff([(273, 4, 500_000), (279, 4, 500_000)]), "too many values"),
        "tags.tif": (_tiff([(2000 + i, 5, 30) for i in range(30_000)]), "tags"),
        "big.tif": (_big_tiff(), "too many values"),
        "scans.tif": (_jpeg_tiff(), "scans"),
    }


def premultiplied_tiff(mode: str = "La") -> bytes:
    """A TIFF of 2x1 pixels with premultiplied alpha: 100 at an opacity of 128 of 255, and 200."""
    samples = 2 if mode == "La" else 4
    pixels = bytes([*[100] * (samples - 1), 128, *[200] * (samples - 1), 255])
    plain = {256: 2, 257: 1, 259: 1, 262: samples // 2, 277: samples, 278: 1, 279: len(pixels),
             338: 1}  # fmt: skip
    entries = [(tag, 4, 1, value) for tag, value in plain.items()]
    offset = 8 + 2 + 12 * (len(entries) + 2) + 4
    bits = 8 | 8 << 16 if samples == 2 else offset + len(pixels)
    entries += [(258, 3, samples, bits), (273, 4, 1, offset)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    return head + pixels + struct.pack("<4H", 8, 8, 8, 8)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _bmp(rows: bytes) -> bytes:
    """2048x2047 pixels with a palette, compressed as 8-bit runs."""
    palette = b"".join(struct.pack("BBBB", k, k, k, 0) for k in range(256))
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 2048, 2047, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def _tiff(more: list[tuple[int, int, int]], pixels: bytes = bytes(8_000_000)) -> bytes:
    """64x16 gray pixels, and tags (number, type, count) whose values share one offset."""
    plain = {256: 64, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 273: -1, 278: 16, 279: 1024}
    added = {tag for tag, _, _ in more}
    entries = [(tag, 4, 1, value) for tag, value in plain.items() if tag not in added]
    entries += [(tag, kind, count, -1) for tag, kind, count in more]
    offset = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack("<HHII", tag, kind, count, offset if value < 0 else value)
        for tag, kind, count, value in sorted(entries)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + pixels


def _big_tiff() -> bytes:
    """A BigTIFF with one tag of a million rationals."""
    entry = struct.pack("<HHQQ", 282, 5, 1_000_000, 100)
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + entry + bytes(8_000_100)


def _scans() -> bytes:
    """A progressive JPEG of 512x512 pixels whose last scan is repeated 300 times."""
    content = encoded(Image.new("L", (512, 512), 90), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * 300 + content[-2:]


def _mpo() -> bytes:
    """The same JPEG with the directory of a multi-image file, which Pillow calls MPO."""
    frames = encoded(draw("a"), "MPO", save_all=True, append_images=[draw("b")])
    start = frames.index(b"\xff\xe2")
    (length,) = struct.unpack_from(">H", frames, start + 2)
    content = _scans()
    return content[:2] + frames[start : start + 2 + length] + content[2:]


def _jpeg_tiff() -> bytes:
    """A TIFF with that JPEG as its only strip."""
    content = _scans()
    plain = {256: 512, 257: 512, 258: 8, 259: 7, 262: 1, 273: -1, 277: 1, 278: 512}
    entries = [(tag, 4, 1, value) for tag, value in (plain | {279: len(content)}).items()]
    offset = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack("<HHII", tag, kind, count, offset if value < 0 else value)
        for tag, kind, count, value in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + content
