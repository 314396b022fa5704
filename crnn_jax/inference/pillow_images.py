"""Pillow image objects, which can seek to another frame and are not thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL import Image, ImageSequence

from crnn_jax.errors import DataError, one_line


def is_animated(image: Any) -> bool:
    """Whether a value is a Pillow image with several frames."""
    try:
        return isinstance(image, Image.Image) and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged or closed file; reported when it is decoded
        return False


def settled(items: Iterator[Any], source: Any) -> Iterator[Any]:
    """Yields items, with the current frame of animations copied.

    An iterator over frames yields the same object each time and seeks it before it is read. An
    animation at its first frame is yielded without a copy.

    Args:
      items: images of any kind.
      source: the iterable that they are from.
    """
    is_frame = isinstance(source, ImageSequence.Iterator)
    for item in items:
        try:
            shown = item.copy() if is_frame or (is_animated(item) and item.tell()) else item
        except Exception as error:  # raised by Pillow for a damaged frame
            shown = DataError(f"a frame cannot be read ({one_line(str(error)[:200])})")
        yield shown


def submit(
    pool: ThreadPoolExecutor, decode: Callable[[Any], Any], images: Iterable[Any]
) -> list[Future[Any]]:
    """Starts to decode images in threads. An object that occurs several times is decoded once."""
    kept = []  # so that no two of them have the same id
    tasks: dict[int, Future[Any]] = {}
    for image in images:
        kept.append(image)
        if id(image) not in tasks:
            can_seek = is_animated(image)  # asked before another thread uses the image
            tasks[id(image)] = pool.submit(decode, image)
            if can_seek:  # the iterable may seek it when the next image is requested
                tasks[id(image)].result()
    return [tasks[id(image)] for image in kept]
