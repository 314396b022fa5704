"""Decodes untrusted image files.

Before decoding, the format, the size of the file, the number of pixels and the limits of
`image_claims` are checked, so that memory and time are bounded. Images that could be interpreted in
more than one way, with several frames or 32-bit pixels, are refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from crnn_jax.config import DataConfig
from crnn_jax.data import image_claims
from crnn_jax.data.crop import content_box
from crnn_jax.errors import DataError, one_line
from crnn_jax.runtime import files

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MOST_BYTES = 2**24  # of a file
MOST_PIXELS = 2**22  # of an image: 2048x2048; the default model reads 200x50
# Pillow supports more formats, among them PostScript, which it passes to an interpreter.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_MODES = frozenset(
    [
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"),
        *("I;16", "I;16L", "I;16B", "I;16N"),
    ]
)
# By EXIF orientation. ImageOps.exif_transpose would also parse and rewrite all other tags.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Reads an image file, given as a path or as the bytes of the file; see `decode`.

    Raises:
      DataError: the file cannot be read as an image; the message says why.
    """
    try:
        content = source if isinstance(source, bytes) else files.read(source, MOST_BYTES)
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error
    except Exception as error:  # a name with a NUL byte, or an object that is not a path
        raise DataError(f"not a file name ({error})") from error
    if not content:
        raise DataError("empty file")
    if len(content) > MOST_BYTES:
        raise DataError(f"{len(content)} bytes are too many (at most {MOST_BYTES})")
    with _refusing():
        image_claims.check(content)
        with Image.open(image_claims.Metered(content), formats=_FORMATS) as image:
            # The JPEG of a camera may contain a preview (MPO), which is not a frame.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise DataError(
                    "it has more than one frame, and it is not known which of them shows the text; "
                    "save that frame as a file"
                )
            return decode(image)


def decode(image: Image.Image) -> Image.Image:
    """Returns the pixels as displayed: upright by EXIF, palettes and transparency as RGBA.

    Raises:
      DataError: the image is damaged, too large, or of a mode that does not define gray levels.
    """
    with _refusing():
        _check_size(image)
        image_claims.check_opened(image, MOST_PIXELS)
        image.load()
        method = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        image = image.copy() if method is None else image.transpose(method)
        if premultiplied := {"La": "LA", "RGBa": "RGBA"}.get(image.mode):
            image = image.convert(premultiplied)
        if image.mode == "P" or "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
        _check_size(image)  # the first frame of a GIF may be larger than its header says
    if image.mode not in _MODES:
        raise DataError(f"its pixel mode {image.mode} is not supported; save it as RGB or gray")
    return image


def flatten(image: Image.Image) -> Image.Image:
    """Puts a decoded image on white, with 8 bits per channel. DataError if this fails."""
    with _refusing():
        if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 255 instead of scaling
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode == "HSV":  # Pillow converts it to RGB only
            image = image.convert("RGB")
        return image


def box(image: Image.Image, crop: bool) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom of the part of a flattened image that the model gets."""
    if not crop:
        return 0, 0, *image.size
    left, top, right, bottom = content_box(np.asarray(image.convert("RGB")).transpose(1, 0, 2))
    return int(left), int(top), int(right), int(bottom)


def to_array(image: Image.Image, config: DataConfig) -> np.ndarray:
    """Like `to_array_and_span`, but returns only the array."""
    return to_array_and_span(image, config)[0]


def to_array_and_span(
    image: Image.Image, config: DataConfig
) -> tuple[np.ndarray, tuple[float, float]]:
    """Converts a decoded image to u8 [W, H, C]: on white, gray or RGB, resized with antialiasing.

    The first axis is the width, which becomes the time axis of the model. With data.crop the image
    is cropped first.

    Returns:
      The array, and the part of the image's width that the array shows.

    Raises:
      DataError: Pillow cannot convert or resize the image.
    """
    width, height, channels = config.width, config.height, config.channels
    span = (0.0, 1.0)
    with _refusing():
        image = flatten(image)
        if config.crop:
            left, top, right, bottom = box(image, config.crop)
            span = (left / image.width, right / image.width)
            image = image.crop((left, top, right, bottom))
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            # Pillow's filters widen when an image shrinks, which gives antialiasing.
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        array = np.asarray(image, np.uint8).reshape(height, width, channels)
        return array.transpose(1, 0, 2), span


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Converts every error to a DataError, so that one bad image does not stop the others."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError("it needs more memory than is available") from error
    except UnidentifiedImageError as error:
        raise DataError(f"not an image of a supported format ({', '.join(_FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too many pixels (at most {MOST_PIXELS})") from error
    # Pillow's decoders raise many kinds of errors on damaged files, even SyntaxError.
    except Exception as error:
        raise DataError(f"not a readable image ({one_line(str(error)[:200])})") from error


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{width}x{height} pixels are too many (at most {MOST_PIXELS}); crop or shrink it"
        )
    if not width or not height:
        raise DataError(f"the image is empty ({width}x{height})")
