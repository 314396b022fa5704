"""The images that a reader is given: files, Pillow images or arrays, one or many."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from crnn_jax.config import DataConfig
from crnn_jax.config.data_keys import FRAMES
from crnn_jax.data import image_io
from crnn_jax.errors import ConfigError, DataError, one_line, quote
from crnn_jax.inference import contents, pillow_images

# A path, the content of a file, a file object, base64 or a data URI; a Pillow image; or an array.
# Arrays of other libraries and file objects have no common type.
ImageInput = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray | Any
)

ACCEPTED = (
    "accepted are paths, file objects, bytes of image files, base64, data URIs, Pillow images, "
    "arrays [H, W], [H, W, C] or [N, H, W, C], and iterables of these"
)
ORDERS = ("rgb", "bgr")
_MAX_NAMED = 20  # images named one by one in an error
_MOST_NAME = 300  # characters of a path in an error message
_CHANNELS = (1, 2, 3, 4)  # gray, gray and alpha, RGB, RGBA
_LEAST_SIDE = 8  # pixels; a shorter last axis is more likely channels


class Format(NamedTuple):
    """What the caller declares about images."""

    order: str = "rgb"  # channel order of arrays: 'rgb', or 'bgr' as in OpenCV
    max_value: float | None = None  # value of white in arrays; None: 255 for u8, others refused
    frame: str | None = None  # frame of animations; None for data.frame

    def check(self) -> Format:
        """Returns the format. ConfigError if a value is not allowed."""
        if self.order not in ORDERS:
            raise ConfigError(f"order must be 'rgb' or 'bgr', not {quote(self.order)}")
        value = self.max_value
        kinds = (int, float, np.integer, np.floating)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value) and value > 0):
            raise ConfigError(f"max_value must be a number above 0, not {quote(value)}")
        if self.frame and self.frame not in FRAMES:
            raise ConfigError(f"frame must be {', '.join(FRAMES)}, not {quote(self.frame)}")
        return self


DEFAULT = Format()


class IterationError(DataError):
    """The iterable of images raised an error, so that images may be missing."""


def each(images: Any) -> Iterator[Any]:
    """Returns an iterator over the images, one or many.

    If the iterable raises, the last item is an IterationError. Frames of animations are copied,
    because Pillow's iterators yield the same object for each.

    Raises:
      DataError: `images` is neither an image nor an iterable, or an array whose shape is ambiguous.
    """
    if isinstance(images, Image.Image) or contents.is_one(images):
        return iter([images])
    reason = ""
    try:
        if _is_array(images):
            array = _to_array(images)
            if array.ndim == 1 and array.dtype.kind in "OUST":  # names or objects of a column
                return iter(array.tolist())
            if array.ndim == 1 and array.dtype == np.uint8:
                return iter([array])
            return iter(_layout(array, _name(images)))
        if isinstance(images, (list, tuple)) and images and _is_nested(images[0]):
            raise DataError("a list of numbers is not an image; pass np.asarray(x, np.uint8)")
    except DataError as error:
        raise DataError(f"number 0: {error}") from error
    is_list = not isinstance(images, Mapping)
    if is_list and (hasattr(images, "__iter__") or hasattr(images, "__getitem__")):
        try:
            return pillow_images.settled(_guarded(iter(images)), images)
        except Exception as error:  # raised by a method of the object
            reason = f" ({_shown(error)})"
    raise DataError(f"number 0: {_name(images)} is not an image{reason}; {ACCEPTED}")


def _guarded(images: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from images
    except Exception as error:
        yield IterationError(f"the iterable of images raised {_shown(error)}")


def to_image(image: Any, form: Format = DEFAULT, frame: str = "") -> Image.Image:
    """Decodes one image.

    Args:
      image: anything that `ACCEPTED` names.
      form: what the caller declares about arrays.
      frame: the frame of an animation, as in data.frame; `form` has precedence.

    Raises:
      DataError: the image cannot be read; the message says why, or what is accepted.
    """
    if isinstance(image, DataError):  # from `_guarded`
        raise image
    frame = frame if form.frame is None else form.frame
    if isinstance(image, Image.Image):
        return image_io.decode(image, frame)
    if (source := contents.of(image)) is not None:
        try:
            return image_io.open_image(source, frame)
        except DataError as error:
            if isinstance(error.__cause__, IsADirectoryError):
                raise DataError("it is a folder; pass the paths of its images") from error
            raise
    if not _is_array(image):
        raise DataError(f"{_name(image)} is not an image; {ACCEPTED}")
    array = _to_array(image)
    if array.ndim == 1 and array.dtype == np.uint8:  # the content of a file
        return image_io.open_image(array.tobytes(), frame)
    images = _layout(array, _name(image))
    if len(images) != 1:
        raise DataError(f"{_name(image)} holds {len(images)} images; each item must be one")
    return image_io.from_pixels(_to_pixels(images[0], form))


def _is_array(value: Any) -> bool:
    """Whether numpy can convert a value without copying its items one by one."""
    names = ("__array__", "__array_interface__", "__dlpack__")
    is_view = isinstance(value, memoryview)
    return is_view or any(hasattr(value, name) for name in names)


def _to_array(value: Any) -> np.ndarray:
    try:
        has_array = hasattr(value, "__array__") or not hasattr(value, "__dlpack__")
        array = np.asarray(value) if has_array else np.from_dlpack(value)
        if array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            array = array.astype(np.float32)
    except Exception as error:  # raised by a method of the object
        raise DataError(f"{_name(value)} is not an image ({_shown(error)}); {ACCEPTED}") from error
    return array


def _layout(array: np.ndarray, name: str) -> np.ndarray:
    """Returns the images of an array as [N, H, W, C]. DataError: its shape is ambiguous."""
    shape = array.shape
    if array.dtype.kind not in "biuf" or array.ndim < 2:
        advice = "; take its magnitude" if array.dtype.kind == "c" else ""
        advice = (
            "; pass one of its columns" if array.dtype.kind == "O" and array.ndim == 2 else advice
        )
        raise DataError(f"{name} is not an image{advice}; {ACCEPTED}")
    is_last, is_first = shape[-1] in _CHANNELS, shape[-3:-2] and shape[-3] in _CHANNELS
    result = None
    if array.ndim == 2:
        result = array[None, :, :, None]
    elif array.ndim == 3 and is_last:
        result = array[None]
    elif array.ndim == 3 and shape[0] == 1:
        result = array[..., None]
    elif array.ndim == 3 and is_first:
        raise DataError(
            f"{name} can be one image with its channels first or {shape[0]} gray images; pass "
            "x.transpose(1, 2, 0) or x[..., None]"
        )
    elif array.ndim == 3 and min(shape[1:]) >= _LEAST_SIDE:
        result = array[..., None]
    elif array.ndim == 4 and is_last and not (is_first and shape[1] > 1):
        result = array
    elif array.ndim == 4 and is_first and not is_last:
        result = array.transpose(0, 2, 3, 1)
    if result is None or 0 in result.shape[1:]:
        raise DataError(
            f"an array must be [H, W], [H, W, C] or [N, H, W, C] with 1 to 4 channels, not {name}"
        )
    return result


def _to_pixels(array: np.ndarray, form: Format) -> np.ndarray:
    """Converts an image [H, W, C] to u8 in RGB order. DataError: its range is not known."""
    image_io.check_size(array.shape[1], array.shape[0])
    if array.dtype != np.uint8 or form.max_value not in (None, 255):
        white = form.max_value
        if white is None:
            raise DataError(
                f"{_name(array)} has no known range; pass the value of white, such as max_value=1, "
                "255 or 65535, or convert it to u8"
            )
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= white * (1 + 1e-6)):  # a NaN fails too
            raise DataError(
                f"{_name(array)} has values from {low:g} to {high:g}, not from 0 to max_value, "
                f"{white:g}"
            )
        scaled = array.astype(np.float64) * (255 / white)
        array = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    if form.order == "bgr" and array.shape[-1] >= 3:
        array = array[..., [2, 1, 0, *range(3, array.shape[-1])]]
    return array


def _is_nested(value: Any) -> bool:
    """Whether `value` is a number, or a list of lists that begins with one."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (int, float)) and value == value  # a NaN is a missing value


class Decoded(NamedTuple):
    """An image in the form of the model's input."""

    pixels: np.ndarray  # u8 [W, H, C]
    span: tuple[float, float]  # the part of the original's width that the pixels show


def decoded(image: Image.Image, config: DataConfig) -> Decoded:
    """Converts a decoded image to the model's input. DataError if that fails."""
    return Decoded(*image_io.to_array_and_span(image, config))


def _name(value: Any) -> str:
    if value is None:
        return "None (OpenCV returns it for a file that it cannot read)"
    shape = getattr(value, "shape", None)
    if isinstance(value, np.ndarray) or (hasattr(value, "dtype") and isinstance(shape, tuple)):
        kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        return one_line(f"{kind} {value.dtype} {list(value.shape)}")[:200]
    if isinstance(value, float) and value != value:
        return "a missing value (nan)"
    return f"a value of type {type(value).__name__}"


def name_of(item: Any, number: int) -> str:
    """Returns the path of an image that was given by its path; else its number."""
    if isinstance(item, (str, os.PathLike)):
        path = one_line(os.fsdecode(item))
        if path and len(path) <= _MOST_NAME and not path.startswith("data:"):
            return path
    return f"number {number}"


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error)[:200])}"


def reason_of_unread(items: Sequence[Any], readings: Sequence[Any]) -> str:
    """Returns how many images could not be read, and why the first of them; "" if there are none.

    The arguments are those of `check_all_read`.
    """
    bad = _unread(items, readings)
    return f"{len(bad)} cannot be read, such as {bad[0]}" if bad else ""


def check_all_read(items: Sequence[Any], readings: Sequence[Any]) -> None:
    """Raises DataError if some images could not be read; it names the first 20.

    Args:
      items: the images.
      readings: for each image its reading, or the DataError that says why there is none.
    """
    bad = _unread(items, readings)
    if bad:
        named = [f"  {line}" for line in bad[:_MAX_NAMED]]
        if len(bad) > _MAX_NAMED:
            named.append(f"  ... and {len(bad) - _MAX_NAMED} more")
        count = f"{len(bad)} of {len(items)} cannot be read"
        raise DataError(f"{count}:\n" + "\n".join(named))


def _unread(items: Sequence[Any], readings: Sequence[Any]) -> list[str]:
    """Returns the name of each image that could not be read, and why."""
    return [
        f"{name_of(item, i)}: {reading}"
        for i, (item, reading) in enumerate(zip(items, readings, strict=True))
        if isinstance(reading, DataError)
    ]
