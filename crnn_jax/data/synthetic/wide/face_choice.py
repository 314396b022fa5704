"""Chooses fonts for a generator of captchas: legible ones, without near-duplicates."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFont

from crnn_jax.charset import merge_look_alikes
from crnn_jax.data.synthetic.wide.face_atlas import SYMBOLS
from crnn_jax.errors import ConfigError, one_line

_SIDE = 20  # pixels per side of a symbol in comparisons
_LETTERS = SYMBOLS[:62]
# Parts of the paths of reference faces, which are known to be legible.
_REFERENCES = (
    "dejavu/DejaVuSans.ttf", "dejavu/DejaVuSerif.ttf", "DejaVuSans-Bold.ttf",
    "LiberationSans-Regular", "LiberationSerif-Regular", "LiberationMono-Regular", "Lato-Regular",
    "OpenSans-Regular", "Ubuntu-R.", "Carlito-Regular", "EBGaramond12-Regular", "FreeSerif.ttf",
    "Courier", "Quicksand", "Comfortaa", "FreeSansBold", "LiberationSerif-Italic",
    "LiberationSans-BoldItalic", "Cantarell-Regular", "Montserrat-Bold",
)  # fmt: skip
_LEGIBLE = 0.72  # share of symbols whose nearest reference symbol is the same symbol
_SMALL_CAPITALS = 0.8  # cosine of capitals and small letters whose shapes should differ
_ALIKE = 0.93  # two faces with a larger cosine are near-duplicates


def choose(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Returns the font files below `folders` to build an atlas of, the most legible first.

    A font is used if it has all symbols, if most of its letters and digits look more like the same
    symbol of a reference face than like any other, if its small letters are not small capitals, and
    if it differs enough from every font before it.

    Raises:
      ConfigError: a folder does not exist, or there is no reference face.
    """
    folders = list(folders)
    if missing := [folder for folder in folders if not Path(folder).is_dir()]:
        raise ConfigError(f"{one_line(str(missing[0]))} is not a folder")
    suffixes = (".ttf", ".otf")
    paths = sorted(
        str(path)
        for folder in folders
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in suffixes
    )
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        drawn = list(pool.map(_symbols, paths, chunksize=16))
    complete = [(path, x) for path, x in zip(paths, drawn, strict=True) if x is not None]
    references = [x for path, x in complete if any(part in path for part in _REFERENCES)]
    if not references:
        raise ConfigError(
            f"none of the {len(paths)} fonts is a reference face, such as DejaVuSans.ttf or "
            "LiberationSans-Regular.ttf; also name a folder that has one"
        )
    scores = [_legibility(x, np.concatenate(references)) for _, x in complete]
    chosen: list[str] = []
    looks: list[np.ndarray] = []
    for i in np.argsort([-score for score in scores], kind="stable"):
        path, x = complete[i]
        look = x.ravel() / np.sqrt(len(_LETTERS))
        if scores[i] < _LEGIBLE or _has_small_capitals(x):
            continue
        if looks and max(np.array(looks) @ look) > _ALIKE:
            continue
        chosen.append(path)
        looks.append(look)
    return chosen


def _symbols(path: str) -> np.ndarray | None:
    """Returns f32 [62, D] of mean 0 and norm 1; None if the font lacks a symbol or is damaged."""
    try:
        font = ImageFont.truetype(path, 64)
        missing = font.getmask("\U0010fffe")
        rows = []
        for symbol in SYMBOLS:
            mask = font.getmask(symbol)
            is_box = mask.size == missing.size and bytes(mask) == bytes(missing)
            if is_box or (min(mask.size) < 2 and symbol not in "-="):
                return None
            if symbol in _LETTERS:
                rows.append(_square(mask))
    except Exception:  # FreeType and Pillow raise many kinds of errors on damaged fonts
        return None
    x = np.stack(rows)
    if (x.max(1) < 100).any():
        return None
    x = x - x.mean(1, keepdims=True)
    return np.asarray(x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6))


def _square(mask: Any) -> np.ndarray:
    """Returns f32 [D]: the ink, centered in a square."""
    image = Image.frombytes("L", mask.size, bytes(mask))
    side = max(mask.size)
    square = Image.new("L", (side, side))
    square.paste(image, ((side - mask.size[0]) // 2, (side - mask.size[1]) // 2))
    return np.asarray(square.resize((_SIDE, _SIDE)), np.float32).ravel()


def _legibility(x: np.ndarray, references: np.ndarray) -> float:
    """Returns the share of symbols [62, D] whose nearest of `references` [R * 62, D] is right."""
    names = list(map(merge_look_alikes, _LETTERS))
    nearest = (x @ references.T).argmax(1) % len(_LETTERS)
    return float(np.mean([names[n] == name for n, name in zip(nearest, names, strict=True)]))


def _has_small_capitals(x: np.ndarray) -> bool:
    pairs = [(_LETTERS.index(c), _LETTERS.index(c.lower())) for c in "ABDEFGHNQRT"]
    return float(np.mean([x[a] @ x[b] for a, b in pairs])) >= _SMALL_CAPITALS
