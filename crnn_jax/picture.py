"""Pictures from strangers: a file to pixels, whatever it claims to be.

What a picture asks for is bounded before it is decoded, so that memory and time are: the formats,
the bytes of the file, the pixels, the tiles of a TIFF, the scans of a JPEG. What could be read in
more than one way is refused and not guessed: several frames, numbers of 32 bits.
"""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crnn_jax import disk
from crnn_jax.config import DataConfig
from crnn_jax.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MOST_BYTES = 2**24  # of a file
MOST_PIXELS = 2**22  # of a picture: 2048x2048; the default model sees 200x50
_MOST_SCANS = 100  # of a progressive JPEG, which has about ten; each costs a pass over the picture
# Not what Pillow knows besides: it hands PostScript to Ghostscript, which is a program.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_MODES = frozenset(
    [
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"),
        *("I;16", "I;16L", "I;16B", "I;16N"),
    ]
)
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # TIFF's tags


def open_image(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Reads a picture, a path or the bytes of a file: see `decode`.

    Raises:
      DataError: says what is wrong with it.
    """
    try:
        content = source if isinstance(source, bytes) else disk.read(source, MOST_BYTES)
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error
    except ValueError as error:  # a name with a zero byte
        raise DataError(f"not a file name ({error})") from error
    if not content:
        raise DataError("empty file")
    if len(content) > MOST_BYTES:
        raise DataError(f"{len(content)} bytes are too many ({MOST_BYTES} at most)")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_size(image)
            _check_claims(image, content)
            return decode(image)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"not an image ({', '.join(_FORMATS)} are read)") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too many pixels ({MOST_PIXELS} at most)") from error
    # Pillow's decoders raise many kinds of errors on damaged bytes, SyntaxError among them.
    except Exception as error:
        raise DataError(f"not a readable image ({error})") from error


def decode(image: Image.Image) -> Image.Image:
    """Pixels as they are seen: upright by EXIF, palettes and transparency resolved to RGBA.

    Raises:
      DataError: the picture is damaged, too large, or of pixels that are not defined well enough.
    """
    _check_size(image)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "P" or "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"not a readable image ({error})") from error
    _check_size(image)  # a GIF's first frame may be larger than its header says
    if image.mode not in _MODES:
        raise DataError(f"its pixels are of mode {image.mode}; save it as RGB, or grey of 16 bits")
    return image


def flatten(image: Image.Image) -> Image.Image:
    """A decoded image on white, of eight bits."""
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 255 instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def to_array(image: Image.Image, config: DataConfig) -> np.ndarray:
    """A decoded image to u8 [W, H, C]: on white, grey or RGB, resized with antialiasing.

    The first axis is the width: it becomes the time axis of the model.
    """
    width, height, channels = config.width, config.height, config.channels
    image = flatten(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        # Pillow's filters widen with the reduction, which is what antialiasing means.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(image, np.uint8).reshape(height, width, channels)
    return array.transpose(1, 0, 2)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{width}x{height} pixels are too many ({MOST_PIXELS} at most); crop or shrink it"
        )
    if not width or not height:
        raise DataError(f"{width}x{height} pixels are none")


def _check_claims(image: Image.Image, content: bytes) -> None:
    """What a file asks for besides its pixels. DataError if that is too much, or not clear."""
    if image.format == "JPEG" and content.count(b"\xff\xda") > _MOST_SCANS:
        raise DataError(f"a JPEG of more than {_MOST_SCANS} scans")
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if int(tags.get(_TILE_WIDTH, 1)) * int(tags.get(_TILE_HEIGHT, 1)) > MOST_PIXELS:
            raise DataError("a TIFF of larger tiles than any picture")
    # A camera's JPEG may hold a preview besides (MPO), which is no frame.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(
            "it has more than one frame, and which of them shows the text is not known; save that "
            "one by itself"
        )
