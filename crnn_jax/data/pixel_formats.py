"""Conversion of transparency and of 16-bit pixels to 8 bits, on Pillow images.

page/reader.js has a JavaScript version of `on_page`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

# Ink that is darker than a white page by less than this, of 255, is not visible on it.
_VISIBLE = 16
_LEAST_ALPHA_RANGE = 64  # below this, the transparency shows nothing
_SHOWN = 1 / 3  # of the ink: dark letters in white outlines have more, specks on white letters less
_SOLID = 3 / 4  # of its bounding box: letters cover less, a card with letters on it more


def on_page(image: Image.Image) -> Image.Image:
    """Puts RGBA on a white page. Returns RGBA, or L where the ink shows in the alpha channel only.

    White ink on a transparent background would be invisible on a white page. It becomes black.
    """
    coverage = np.asarray(image.getchannel("A"))
    low, high = int(coverage.min()), int(coverage.max())
    page = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if high - low < _LEAST_ALPHA_RANGE:
        return page
    is_opaque = coverage >= 128
    is_clear = 2 * np.count_nonzero(is_opaque) <= coverage.size  # most of it: the background
    is_visible = 255 - np.asarray(page)[..., :3].min(-1) >= _VISIBLE
    if is_visible.any() and not (is_clear and _is_hidden(is_opaque, is_visible)):
        return page
    return Image.fromarray(255 - coverage if is_clear else coverage)


def _is_hidden(is_opaque: np.ndarray, is_visible: np.ndarray) -> bool:
    """Whether most of the opaque pixels are invisible on white, and they are not a white card."""
    count, shown = np.count_nonzero(is_opaque), np.count_nonzero(is_opaque & is_visible)
    if shown >= _SHOWN * count:
        return False
    rows, columns = np.flatnonzero(is_opaque.any(1)), np.flatnonzero(is_opaque.any(0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return bool(count < _SOLID * box)


def deep_to_gray(image: Image.Image) -> Image.Image:
    """Converts 16-bit gray to 8 bits by the number of bits that the image uses.

    Scanners and cameras store 10 or 12 bits in 16. The range is 2^8, 2^10, ..., 2^16, the smallest
    that holds all pixels. Pillow would clip the values to 255.
    """
    pixels = np.asarray(image).astype(np.uint16)
    return Image.fromarray((pixels >> _bits(int(pixels.max())) - 8).astype(np.uint8))


def deep_to_rgba(image: Image.Image) -> Image.Image:
    """Converts 16-bit gray with a transparent gray level to RGBA."""
    pixels, clear = np.asarray(image).astype(np.uint16), image.info.get("transparency")
    opaque = np.where(pixels == clear, 0, 255) if isinstance(clear, int) else pixels * 0 + 255
    gray = deep_to_gray(image)
    return Image.merge("RGBA", [gray] * 3 + [Image.fromarray(opaque.astype(np.uint8))])


def with_full_range(image: Image.Image) -> Image.Image:
    """Scales channels of which Pillow has kept the upper 8 of 16 bits, if at most 14 were used.

    12-bit data in a 16-bit color file arrive as values from 0 to 15.
    """
    bands = image.getbands()
    if image.mode not in ("LA", "RGB", "RGBA"):
        return image
    pixels = np.array(image)
    has_alpha = "A" in bands
    for part in [slice(0, len(bands) - has_alpha), slice(len(bands) - 1, None)][: 1 + has_alpha]:
        most = (1 << _bits(int(pixels[..., part].max()) << 8)) >> 8
        if 1 < most < 256:
            pixels[..., part] = pixels[..., part].astype(np.uint32) * 255 // (most - 1)
    scaled = Image.fromarray(pixels)
    scaled.info = image.info
    return scaled


def _bits(largest: int) -> int:
    """Returns the bits of the range that holds `largest`: 8, 10, 12, 14 or 16."""
    bits = max(largest.bit_length(), 8)
    return bits + bits % 2
