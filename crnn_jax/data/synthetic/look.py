"""What a data source needs of a look of generated images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

# Seed and numbers i32 [B] to images u8 [B, W, H, C] and labels i32 [B, L], padded with PAD.
Drawer = Callable[[int, np.ndarray], tuple[jax.Array, jax.Array]]


class Look(Protocol):
    """A look of generated images: a `Style`, or the `Wide` family of styles."""

    @property
    def alphabet(self) -> str:
        """The symbols that labels are indices of."""

    @property
    def length(self) -> tuple[int, int]:
        """The number of characters of a text, lowest and highest."""

    @property
    def width(self) -> int:
        """Of an image, in pixels."""

    @property
    def height(self) -> int:
        """Of an image, in pixels."""

    @property
    def chunk(self) -> int:
        """Images that are drawn at a time, which bounds the memory."""

    def drawer(self) -> Drawer:
        """A function that draws the images of a seed by their numbers."""

    def describe(self) -> dict[str, Any]:
        """Plain values: everything that an image depends on besides seed and number."""
