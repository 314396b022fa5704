"""The wide family as a `Look`, the interface that data sources use."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic import glyphs, presets
from crnn_jax.data.synthetic.look import Drawer, Look
from crnn_jax.data.synthetic.wide import face_atlas, render, text
from crnn_jax.data.synthetic.wide.face_atlas import FaceAtlas
from crnn_jax.runtime import backend


@dataclasses.dataclass(frozen=True)
class Wide:
    """A `Look` with images of hundreds of styles."""

    faces: str = ""  # an `.npz` file of `face_atlas.save`; empty: the faces of the package

    alphabet = face_atlas.SYMBOLS
    length = (3, text.LONGEST)
    width = render.WIDTH
    height = render.HEIGHT

    def atlas(self) -> FaceAtlas:
        """Returns the faces. ConfigError if the file is missing or is not a face atlas."""
        return _from_file(self.faces) if self.faces else _own_faces()

    def describe(self) -> dict[str, Any]:
        """Returns everything that an image depends on."""
        return {"family": "wide", "version": render.VERSION, "faces": self.atlas().digest()}

    def drawer(self) -> Drawer:
        """Returns a function: seed, numbers i32 [B] to images u8 [B, W, H, 3], ids i32 [B, L]."""
        atlas, chunk = text.on_device(self.atlas()), self.chunk

        def draw(seed: int, numbers: np.ndarray) -> tuple[jax.Array, jax.Array]:
            count = len(numbers)
            padded = np.resize(np.asarray(numbers, np.int32), -(-count // chunk) * chunk)
            # One program for any number of images.
            drawn = [
                render.images(atlas, np.uint32(seed), padded[start : start + chunk])
                for start in range(0, len(padded), chunk)
            ]
            images, ids = (jnp.concatenate(parts) for parts in zip(*drawn, strict=True))
            return images[:count], ids[:count]

        return draw

    @property
    def chunk(self) -> int:
        """The number of images that are drawn at a time, which bounds the memory."""
        return backend.choices().images_at_once


def load(name: str) -> Look:
    """Returns the style that `data.style` names: 'wide', a file of faces, or one of `presets.load`.

    Raises:
      ConfigError: the style does not exist, or its file cannot be used.
    """
    if name == "wide":
        return Wide()
    if name.endswith(".npz"):
        look = Wide(name)
        look.atlas()
        return look
    return presets.load(name)


@functools.lru_cache(maxsize=2)
def _from_file(path: str) -> FaceAtlas:
    return face_atlas.load(path)


@functools.cache
def _own_faces() -> FaceAtlas:
    return face_atlas.build(glyphs.path_of(name) for name in glyphs.faces())
