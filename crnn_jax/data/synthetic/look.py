"""The interface of a look of generated images that data sources use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

# Maps a seed and numbers i32 [B] to images u8 [B, W, H, C] and labels i32 [B, L] with PAD.
Drawer = Callable[[int, np.ndarray], tuple[jax.Array, jax.Array]]


class Look(Protocol):
    """A look of generated images: a `Style`, or the `Wide` family of styles."""

    @property
    def alphabet(self) -> str:
        """The symbols; labels are indices into them."""

    @property
    def length(self) -> tuple[int, int]:
        """The least and greatest number of characters of a text."""

    @property
    def width(self) -> int:
        """Width of an image, in pixels."""

    @property
    def height(self) -> int:
        """Height of an image, in pixels."""

    @property
    def chunk(self) -> int:
        """The number of images that are drawn at a time, which bounds the memory."""

    def drawer(self) -> Drawer:
        """Returns a function that draws the images of a seed by their numbers."""

    def describe(self) -> dict[str, Any]:
        """Returns, as plain values, everything that an image depends on besides seed and number."""
