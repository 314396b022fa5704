"""The images that a reader is given: paths, bytes, Pillow images or arrays, one or many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from crnn_jax.config import DataConfig
from crnn_jax.data import image_io
from crnn_jax.errors import DataError, one_line

# A path, the bytes of a file, a Pillow image, or pixels u8 [H, W] or [H, W, C] of any size.
ImageInput = str | os.PathLike[str] | bytes | Image.Image | np.ndarray

ACCEPTED = (
    "accepted are paths, bytes of image files, Pillow images, arrays u8 [H, W] or [H, W, C], and "
    "iterables of these"
)
# How to convert pixels of another type, by the dtype's kind.
_ADVICE = {
    "b": "; convert it with x.astype(np.uint8) * 255",
    "i": "; convert values from 0 to 255 with x.astype(np.uint8)",
    "u": "; convert values from 0 to 255 with x.astype(np.uint8)",
    "f": "; scale it to 0 to 255 and convert it with x.round().astype(np.uint8)",
    "c": "; take its magnitude, scale it to 0 to 255 and convert it with x.astype(np.uint8)",
}


def each(images: Any) -> Iterator[Any]:
    """Returns an iterator over the images, one or many.

    If the iterable raises, the last item is a DataError.

    Raises:
      DataError: `images` is neither an image nor an iterable.
    """
    if isinstance(images, (str, os.PathLike, bytes, Image.Image)):
        return iter([images])
    if isinstance(images, np.ndarray):
        single = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (1, 3, 4))
        images = images[None] if single else images
        is_list = images.ndim > 1 or (images.ndim == 1 and images.dtype.kind in "OUS")
    else:
        is_list = not isinstance(images, (Mapping, bytearray, memoryview))
    reason = ""
    if is_list and (hasattr(images, "__iter__") or hasattr(images, "__getitem__")):
        try:
            return _guarded(iter(images))
        except Exception as error:  # raised by a method of the object
            reason = f" ({_shown(error)})"
    raise DataError(f"number 0: {_name(images)} is not an image{reason}; {ACCEPTED}")


def _guarded(images: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from images
    except Exception as error:
        yield DataError(f"the iterable of images raised {_shown(error)}")


def to_image(image: Any) -> Image.Image:
    """Decodes one image. DataError says why it cannot be read, or what is accepted."""
    if isinstance(image, DataError):  # from `_guarded`
        raise image
    if isinstance(image, Image.Image):
        return image_io.decode(image)
    if isinstance(image, (bytes, str, os.PathLike)):
        return image_io.open_image(image)
    try:
        array = np.asarray(image)
    except Exception as error:  # raised by a method of the object
        raise DataError(f"{_name(image)} is not an image ({_shown(error)}); {ACCEPTED}") from error
    if array.dtype.kind not in "biufc" or (array.ndim == 0 and not isinstance(image, np.ndarray)):
        raise DataError(f"{_name(image)} is not an image; {ACCEPTED}")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if not is_image or 0 in array.shape or array.dtype != np.uint8:
        advice = "" if array.dtype == np.uint8 else _ADVICE[array.dtype.kind]
        raise DataError(
            f"an array must be u8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], not {array.dtype} "
            f"{list(array.shape)}{advice}"
        )
    return Image.fromarray(array)


class Decoded(NamedTuple):
    """An image as the model gets it."""

    pixels: np.ndarray  # u8 [W, H, C]
    span: tuple[float, float]  # the part of the original's width that the pixels show


def decoded(image: Image.Image, config: DataConfig) -> Decoded:
    """Converts a decoded image to the model's input. DataError if that fails."""
    return Decoded(*image_io.to_array_and_span(image, config))


def _name(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {list(value.shape)}"
    return f"a value of type {type(value).__name__}"


def path_of(item: Any) -> str:
    """Returns the path of an image that was given by its path; else an empty string."""
    return str(item) if isinstance(item, (str, os.PathLike)) else ""


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error)[:200])}"
