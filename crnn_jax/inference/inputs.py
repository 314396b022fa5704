"""The pictures that a reader is given: paths, bytes, Pillow images or arrays, one or many."""

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
Picture = str | os.PathLike[str] | bytes | Image.Image | np.ndarray

ACCEPTED = (
    "accepted are paths, bytes of image files, Pillow images, arrays u8 [H, W] or [H, W, C], and "
    "iterables of these"
)
# How to convert pixels of another type, by the kind of a dtype.
_ADVICE = {
    "b": "; convert it with x.astype(np.uint8) * 255",
    "i": "; convert values from 0 to 255 with x.astype(np.uint8)",
    "u": "; convert values from 0 to 255 with x.astype(np.uint8)",
    "f": "; scale it to 0 to 255 and convert it with x.round().astype(np.uint8)",
    "c": "; take its magnitude, scale it to 0 to 255 and convert it with x.astype(np.uint8)",
}


def each(pictures: Any) -> Iterator[Any]:
    """The pictures, one or many; if the iterable raises, a DataError is the last item.

    Raises:
      DataError: `pictures` is neither a picture nor an iterable.
    """
    if isinstance(pictures, (str, os.PathLike, bytes, Image.Image)):
        return iter([pictures])
    if isinstance(pictures, np.ndarray):
        single = pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[-1] in (1, 3, 4))
        pictures = pictures[None] if single else pictures
        is_list = pictures.ndim > 1 or (pictures.ndim == 1 and pictures.dtype.kind in "OUS")
    else:
        is_list = not isinstance(pictures, (Mapping, bytearray, memoryview))
    reason = ""
    if is_list and (hasattr(pictures, "__iter__") or hasattr(pictures, "__getitem__")):
        try:
            return _guarded(iter(pictures))
        except Exception as error:  # of the object's own method
            reason = f" ({_shown(error)})"
    raise DataError(f"number 0: {_name(pictures)} is not a picture{reason}; {ACCEPTED}")


def _guarded(pictures: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from pictures
    except Exception as error:
        yield DataError(f"the iterable of pictures raised {_shown(error)}")


def to_image(picture: Any) -> Image.Image:
    """Decodes one picture. DataError says why it cannot be read, or what is accepted."""
    if isinstance(picture, DataError):  # from `_guarded`
        raise picture
    if isinstance(picture, Image.Image):
        return image_io.decode(picture)
    if isinstance(picture, (bytes, str, os.PathLike)):
        return image_io.open_image(picture)
    try:
        array = np.asarray(picture)
    except Exception as error:  # of the object's own methods
        raise DataError(
            f"{_name(picture)} is not a picture ({_shown(error)}); {ACCEPTED}"
        ) from error
    if array.dtype.kind not in "biufc" or (array.ndim == 0 and not isinstance(picture, np.ndarray)):
        raise DataError(f"{_name(picture)} is not a picture; {ACCEPTED}")
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
    """An image as the model sees it."""

    pixels: np.ndarray  # u8 [W, H, C]
    span: tuple[float, float]  # of the width of the original, that they show


def decoded(image: Image.Image, config: DataConfig) -> Decoded:
    """DataError if the image cannot be converted."""
    span = (0.0, 1.0)
    if config.crop:
        image = image_io.flatten(image)
        left, _, right, _ = image_io.box(image)
        span = (left / image.width, right / image.width)
    return Decoded(image_io.to_array(image, config), span)


def _name(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {list(value.shape)}"
    return f"a value of type {type(value).__name__}"


def path_of(item: Any) -> str:
    """The path of a picture that was given by its path; else an empty string."""
    return str(item) if isinstance(item, (str, os.PathLike)) else ""


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error)[:200])}"
