"""A list of readings that a notebook shows as a table with the images."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from crnn_jax.errors import CrnnError
from crnn_jax.inference import inputs
from crnn_jax.runs.run_dir import png

MOST = 50  # readings that are shown
_SIZE = 240, 80  # maximum size of an image in the table, in pixels


class _HasText(Protocol):
    """A `Reading` or an `Explanation`."""

    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def answered(self) -> bool: ...


T = TypeVar("T", bound=_HasText)


class Readings(list[T]):
    """The readings of some images, in order: a list, with a table for notebooks.

    It refers to the first `MOST` images, which are decoded again when the table is shown.
    """

    def __init__(self, readings: Iterable[T], images: Sequence[Any], form: inputs.Format):
        super().__init__(readings)
        self._first, self._images, self._form = self[:MOST], list(images[:MOST]), form

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the images, which can be open files. A table then shows none.
        return Readings, (list(self), [None] * len(self._images), self._form)

    def _repr_html_(self) -> str:
        """Returns the table; notebooks call this method."""
        # A list that was sorted or shortened is shown without images.
        is_same = all(a is b for a, b in zip(self._first, self, strict=False))
        images = self._images if is_same else [None] * len(self[:MOST])
        rows = [
            f"<tr><td>{self._shown(image)}</td>"
            f"<td><code>{html.escape(reading.text)}</code></td>"
            f"<td>{reading.confidence:.1%}</td>"
            f"<td>{'' if reading.answered else 'not like the training images, or blank'}</td></tr>"
            for reading, image in zip(self, images, strict=False)
        ]
        more = len(self) - len(rows)
        last = f"<tr><td colspan=4>and {more} more</td></tr>" if more else ""
        head = "<tr><th>image</th><th>text</th><th>confidence</th><th></th></tr>"
        return f"<table>{head}{''.join(rows)}{last}</table>"

    def _shown(self, image: Any) -> str:
        if image is None:
            return ""
        try:
            shown = inputs.to_image(image, self._form)
        except (CrnnError, OSError):  # such as an upload that can be read only once
            return "(no longer available)"
        shown = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
        shown.thumbnail(_SIZE)
        content = base64.b64encode(png(shown)).decode()
        return f'<img alt="" src="data:image/png;base64,{content}">'
