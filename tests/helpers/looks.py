"""A style of small images and a small file of faces, for tests of generated data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.config import Config
from crnn_jax.data import sources
from crnn_jax.data.synthetic import glyphs
from crnn_jax.data.synthetic.wide import face_atlas
from tests.helpers.fixtures import MakeConfig

STEPS = 16  # T of the tiny model
LOOK = {"base": "plain", "alphabet": "abc7", "length": [2, 4], "width": 64, "height": 16,
        "size": [12, 12], "left": [3, 8], "baseline": [12, 12], "faces": ["Go-Bold"]}  # fmt: skip
FACES = ("Go-Bold", "DejaVuSerif-Bold")


def save(folder: Path) -> str:
    """Writes the style to a file of a folder. Returns its path."""
    (folder / "look.json").write_text(json.dumps(LOOK))
    return os.fspath(folder / "look.json")


def save_faces(folder: Path) -> str:
    """Writes a face atlas of two faces for the wide generator. Returns its path."""
    face_atlas.save(face_atlas.build(map(glyphs.path_of, FACES)), folder / "faces.npz")
    return os.fspath(folder / "faces.npz")


def maker(tiny_config: MakeConfig, style_file: str) -> MakeConfig:
    """Returns a function like `tiny_config`, for 20 generated images of a style."""

    def make(changes: Mapping[str, object] = {}, **overrides: Any) -> Config:
        keys = {"data__source": "synthetic", "data__style": style_file, "data__count": 20}
        return tiny_config(changes, **keys | overrides)

    return make


def load(config: Config) -> Any:
    return sources.load(config.data, STEPS)
