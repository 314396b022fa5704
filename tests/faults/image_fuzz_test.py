"""Mutated image files: pixels or a DataError."""

import contextlib
import dataclasses
import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.data import image_io
from crnn_jax.errors import DataError
from experiments import tiny
from tests.faults import strangers
from tests.helpers.fuzzing import check_message, edited, fuzz
from tests.helpers.images import draw, encoded


def image_files() -> Iterator[Any]:
    """A small image in every mode and format that Pillow can write, and in strangers.kinds."""
    image = draw("ab7")
    yield from strangers.kinds(image).values()
    clear = image.convert("RGBA")
    clear.putalpha(254)
    yield encoded(clear, "WEBP")
    yield from (content for content, _ in strangers.refused().values() if len(content) < 2000)
    modes = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
    between = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
    for mode, kind in itertools.product((*modes, "HSV", "I", "F", "I;16"), image_io._FORMATS):
        buffer = io.BytesIO()
        with contextlib.suppress(OSError, ValueError, KeyError, DeprecationWarning):
            image.convert(between.get(mode, "L")).convert(mode).save(buffer, kind)
            yield buffer.getvalue()
            # The TIFF tag ExtraSamples: the colors are premultiplied by alpha.
            old, new = (struct.pack("<HHIH", 338, 3, 1, how) for how in (2, 1))
            if old in buffer.getvalue():
                yield buffer.getvalue().replace(old, new)


IMAGES = list(image_files())
# Formats, and the modes in which every supported Pillow opens their files, that must be read.
READ = {
    "BMP": {"1", "L", "RGB"},
    "GIF": {"L", "P"},
    "JPEG": {"L", "RGB", "CMYK"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    "TIFF": {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I;16"},
    "WEBP": {"RGB", "RGBA"},
}
SECTION = config_lib.from_dict(tiny.get_config().to_dict()).data
SECTIONS = [SECTION, dataclasses.replace(SECTION, channels=3)]


def read_image(content: bytes, section: Any) -> bool:
    """Reads an image, and checks the pixels or the error. Returns whether it was read."""
    try:
        pixels = image_io.to_array(image_io.open_image(content), section)
    except DataError as error:
        check_message(error, lines=1)
        return False
    assert pixels.dtype == np.uint8
    assert pixels.shape == (section.width, section.height, section.channels)
    return True


@pytest.mark.parametrize("section", SECTIONS, ids=["gray", "color"])
def test_images_in_every_mode_and_format(section: Any) -> None:
    were_read = [content for content in IMAGES if read_image(content, section)]
    found: dict[str, set[str]] = {}
    for content in were_read:
        with Image.open(io.BytesIO(content)) as image:
            found.setdefault(str(image.format), set()).add(image.mode)
    assert {kind: modes & found.get(kind, set()) for kind, modes in READ.items()} == READ


def test_images() -> None:
    were_read: list[bool] = []

    @fuzz(600)
    @given(edited(IMAGES), st.sampled_from(SECTIONS))
    def check(content: Any, section: Any) -> None:
        were_read.append(read_image(content, section))

    check()
    assert were_read.count(True) > 100
    assert were_read.count(False) > 100
