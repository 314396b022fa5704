"""Mutated zip archives of a small data set: a part of the long run, and of the suite."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from crnn_jax.data import fetch
from crnn_jax.errors import CrnnError
from tests.faults import strangers

_COUNT = 3
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_MARKS = (b"PK\1\2", b"PK\3\4", b"PK\5\6")


def archives(work: Path, moments: random.Random, scale: float) -> dict[str, int]:
    """Unpacks 5,000 mutated archives; each yields the packed images or a CrnnError."""
    rng = np.random.default_rng(moments.getrandbits(32))
    images = [_png(rng) for _ in range(_COUNT)]
    sound = [_zip(images, method) for method in _METHODS]
    archive, out = work / "archive.zip", work / "out"
    count = round(5000 * scale)
    refused = 0
    with mock.patch.object(fetch, "COUNT", _COUNT):
        for i in range(count):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            one_line = True
            archive.write_bytes(_mutated(rng, sound[i % 4], sound[int(rng.integers(4))]))
            try:
                fetch.unpack(archive, out)
            except CrnnError as error:
                refused += 1
                one_line = "\n" not in str(error)
            else:
                assert sorted(p.read_bytes() for p in out.iterdir()) == sorted(images), i
            assert one_line, i
    return {"archives": count, "refused": refused}


def _mutated(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """Returns mutations, half of them in a header, which has sizes, offsets and names."""
    if rng.random() < 0.5:
        return strangers.mutate(rng, content, other)
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        mark = _MARKS[rng.integers(3)]
        places = [i for i in range(len(data)) if data.startswith(mark, i)]
        if places:
            place = int(rng.choice(places)) + int(rng.integers(4, 46))
            if place < len(data):
                data[place] = int(rng.choice((0, 1, 0xFF, int(rng.integers(256)))))
    return bytes(data)


def _png(rng: np.random.Generator) -> bytes:
    image = np.full((50, 200), 255, np.uint8)
    image[rng.integers(50)] = rng.integers(256, size=200)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def _zip(images: list[bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for i, image in enumerate(images):
            file.writestr(f"set/{fetch.SYMBOLS[i] * fetch.LENGTH}.png", image)
        file.writestr("set/", b"")
        file.writestr("__MACOSX/._22222.png", b"?")
    return buffer.getvalue()
