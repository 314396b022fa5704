"""Decodes untrusted image files.

Before decoding, the format, the size of the file, the number of pixels and the limits of
`image_claims` are checked, so that memory and time are bounded. Images that could be interpreted in
more than one way are refused: those with 32-bit pixels, and those with several frames unless the
caller chooses a frame.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from crnn_jax.config import DataConfig
from crnn_jax.config.data_keys import FRAMES
from crnn_jax.data import image_advice, image_claims, input_width, pixel_formats
from crnn_jax.data.crop import content_box
from crnn_jax.errors import DataError, one_line
from crnn_jax.runtime import files

# SVG is listed so that a drawing in a folder is reported and not skipped.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".svg"}
)
# Formats of images that are named in messages only.
UNSUPPORTED_SUFFIXES = frozenset(
    {".avif", ".heic", ".heif", ".jp2", ".jpe", ".jxl", ".ppm", ".pgm", ".pbm", ".ico", ".apng"}
)
MOST_BYTES = 2**24  # bytes of a file
MOST_PIXELS = 2**22  # pixels of an image: 2048x2048; the default model reads 200x50
MOST_FRAME_PIXELS = 2**24  # pixels of all frames of an animation
SEVERAL_FRAMES = "it has several frames"  # begins the error that refuses an animation
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


def open_image(source: str | os.PathLike[str] | bytes, frame: str = "") -> Image.Image:
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
        try:
            opened = Image.open(image_claims.Metered(content), formats=_FORMATS)
        except UnidentifiedImageError as error:
            if reason := image_advice.advice(content[:1024]):
                raise DataError(reason) from error
            raise
        with opened as image:
            return decode(image, frame)


def decode(image: Image.Image, frame: str = "") -> Image.Image:
    """Returns the pixels as displayed: upright by EXIF, palettes and transparency as RGBA.

    Args:
      image: an open image.
      frame: one of `data_keys.FRAMES`. Without it, an animation is refused, unless the caller has
        moved it to a later frame with `seek`.

    Raises:
      DataError: the image is damaged, too large, has several frames, or is of a mode that does not
        define gray levels.
    """
    with _refusing():
        # The JPEG of a camera may contain a preview (MPO), which is not a frame.
        if image.format == "MPO" or not getattr(image, "is_animated", False):
            return _decode(image)
        place = image.tell()
        if not frame and place:
            return _decode(image)
        if not frame:
            raise DataError(
                f"{SEVERAL_FRAMES}; choose what to read ({', '.join(FRAMES)}) with the option "
                "--frame, or for training with the config key data.frame"
            )
        try:
            return _joined(image, frame)
        finally:
            image.seek(place)


def _joined(image: Image.Image, frame: str) -> Image.Image:
    """Returns a frame of an animation, or the darkest or mean value of each pixel, as RGB."""
    if frame == "first":
        image.seek(0)
        return _decode(image)
    count = int(getattr(image, "n_frames", 1))
    if count > image_claims.MAX_FRAMES or count * image.width * image.height > MOST_FRAME_PIXELS:
        raise DataError(
            f"{count} frames are too many (at most {image_claims.MAX_FRAMES}, and at most "
            f"{MOST_FRAME_PIXELS} pixels in all); save the frame that shows the text"
        )
    if frame == "last":
        image.seek(count - 1)
        return _decode(image)
    size, found = None, None
    for place in range(count):
        image.seek(place)
        shown = flatten(_decode(image)).convert("RGB")
        pixels = np.asarray(shown, np.uint32)  # [H, W, 3]
        if size not in (None, shown.size):
            raise DataError("its frames differ in size; choose first or last")
        size = shown.size
        if found is None:
            found = pixels
        else:
            found = np.minimum(found, pixels) if frame == "darkest" else found + pixels
    if found is None:
        raise DataError("it has no frames")
    if frame == "mean":
        found = (found + count // 2) // count
    return Image.fromarray(found.astype(np.uint8))


def _decode(image: Image.Image) -> Image.Image:
    """Like `decode`, for the current frame."""
    check_size(*image.size)
    image_claims.check_opened(image, MOST_PIXELS)
    is_deep = ";16" in repr(getattr(image, "tile", ""))  # before the file is loaded
    image.load()
    method = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    image = image.copy() if method is None else image.transpose(method)
    if premultiplied := {"La": "LA", "RGBa": "RGBA"}.get(image.mode):
        image = image.convert(premultiplied)
    if is_deep:
        image = pixel_formats.with_full_range(image)
    has_alpha = image.mode == "P" or "A" in image.getbands() or "transparency" in image.info
    if has_alpha and image.mode.startswith("I;16"):
        image = pixel_formats.deep_to_rgba(image)
    elif has_alpha:
        image = image.convert("RGBA")
    check_size(*image.size)  # the first frame of a GIF may be larger than its header says
    if image.mode not in _MODES:
        raise DataError(f"its pixel mode {image.mode} is not supported; save it as RGB or gray")
    return image


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Converts u8 [H, W, C], gray, gray and alpha, RGB or RGBA, to a decoded image."""
    with _refusing():
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return image.convert("RGBA") if image.mode == "LA" else image


def flatten(image: Image.Image) -> Image.Image:
    """Puts a decoded image on a page, with 8 bits per channel. DataError if this fails.

    The page is white. If most of the ink is as bright as the page, it is visible only in the alpha
    channel, and is drawn black.
    """
    with _refusing():
        if image.mode.startswith("I;16"):
            image = pixel_formats.deep_to_gray(image)
        if image.mode == "RGBA":
            image = pixel_formats.on_page(image)
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
    is cropped first. With data.width 0, the array has the width that fits the image.

    Returns:
      The array, and the part of the image's width that the array shows.

    Raises:
      DataError: Pillow cannot convert or resize the image.
    """
    height, channels = config.height, config.channels
    with _refusing():
        image = flatten(image)
        left, top, right, bottom = box(image, config.crop)
        span = (left / image.width, right / image.width)
        width = config.width or input_width.fitting((right - left) / (bottom - top), height)
        if config.crop:
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


def check_size(width: int, height: int) -> None:
    """Raises DataError if an image is empty or has more than MOST_PIXELS pixels."""
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{width}x{height} pixels are too many (at most {MOST_PIXELS}); crop or shrink it"
        )
    if not width or not height:
        raise DataError(f"the image is empty ({width}x{height})")
