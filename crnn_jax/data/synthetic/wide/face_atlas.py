"""Many faces as distance fields, built once on the host from font files and kept in an `.npz` file.

Unlike in `glyphs.Atlas`, every face is scaled to the same height of a capital, so that a size means
the same for each. Cells are smaller, because there are hundreds of faces.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageFont

from crnn_jax.data.synthetic import glyphs
from crnn_jax.errors import ConfigError, one_line
from crnn_jax.runtime import files

SYMBOLS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-*/=?"
CAPITAL = 19  # pixels of the atlas: height of an H
CELL = 44  # side of a cell, pixels; the origin lies at (LEFT, BASELINE)
LEFT, BASELINE = 9, 29
UNITS, ZERO = glyphs.UNITS, glyphs.ZERO
MAX_BYTES = 2**28  # maximum bytes of an atlas file
MAX_UNPACKED = 2**29  # bytes of its arrays: about 4,000 faces
_FINE = glyphs.FINE
_VERSION = 1
_MANY = 32  # at least this many fonts are drawn by several processes


class FaceAtlas(NamedTuple):
    """F faces of G symbols; metrics in pixels of the atlas."""

    fields: np.ndarray  # u8 [F, G, CELL, CELL], x first
    left: np.ndarray  # f32 [F, G], from the origin to the ink
    width: np.ndarray  # f32 [F, G], of the ink
    advance: np.ndarray  # f32 [F, G]
    names: np.ndarray  # str [F]: family, style and the digest of the font file

    def digest(self) -> str:
        """Returns the SHA-256 of everything that an image depends on."""
        sha = hashlib.sha256(f"{_VERSION} {SYMBOLS} {CAPITAL} {CELL}".encode())
        for array in (self.fields, self.left, self.width, self.advance):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


def build(fonts: Iterable[str | os.PathLike[str]]) -> FaceAtlas:
    """Draws SYMBOLS in each font that has them all and fits into the cells; skips other fonts.

    Raises:
      ConfigError: no font is left.
    """
    paths = [os.fspath(path) for path in fonts]
    if len(paths) < _MANY:
        drawn = list(map(_face_or_none, paths))
    else:
        # Not by fork, because jax may have started threads.
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            drawn = list(pool.map(_face_or_none, paths, chunksize=8))
    found = [face for face in drawn if face is not None]
    if not found:
        raise ConfigError(f"none of {len(paths)} font files has all of {SYMBOLS}")
    fields, metrics, names = (np.stack(parts) for parts in zip(*found, strict=True))
    left, width, advance = metrics.transpose(1, 0, 2)
    return FaceAtlas(fields, left, width, advance, names)


def save(atlas: FaceAtlas, path: str | os.PathLike[str]) -> None:
    """Writes one compressed `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **atlas._asdict())
    files.write(Path(path), buffer.getvalue())


def load(path: str | os.PathLike[str]) -> FaceAtlas:
    """Reads a file of `save`. ConfigError if it is missing or is not a face atlas."""
    name = one_line(os.fspath(path))
    try:
        content = files.read(Path(path), MAX_BYTES)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_UNPACKED:
            raise ValueError(f"it unpacks to {size} bytes ({MAX_UNPACKED} at most)")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            atlas = FaceAtlas(**{key: stored[key] for key in FaceAtlas._fields})
    except OSError as error:
        raise ConfigError(f"the face atlas {name} cannot be read: {error.strerror}") from error
    except Exception as error:  # numpy, zipfile and zlib raise many kinds of errors
        raise ConfigError(f"{name} is not a face atlas: {error}") from error
    shape = (len(atlas.fields), len(SYMBOLS))
    if (
        atlas.fields.shape != (*shape, CELL, CELL)
        or atlas.fields.dtype != np.uint8
        or any(
            part.shape != shape or part.dtype != np.float32 or not np.isfinite(part).all()
            for part in (atlas.left, atlas.width, atlas.advance)
        )
    ):
        raise ConfigError(f"{name} is a face atlas of another version; build it again")
    return atlas


def _face_or_none(path: str) -> tuple[np.ndarray, np.ndarray, Any] | None:
    try:
        return _face(path)
    except Exception:  # FreeType and Pillow raise many kinds of errors on damaged fonts
        return None


def _face(path: str) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """Returns fields u8 [G, CELL, CELL], metrics f32 [3, G], name; None if a symbol is missing."""
    content = Path(path).read_bytes()
    probe = ImageFont.truetype(io.BytesIO(content), 200)
    capital = -probe.getbbox("H", anchor="ls")[1]
    if capital <= 0:
        return None
    font = ImageFont.truetype(io.BytesIO(content), 200 * CAPITAL * _FINE / capital)
    # A font draws a symbol that it lacks like this character, which no font has.
    missing = glyphs.draw(font, "\U0010fffe", CELL, LEFT, BASELINE)
    fields = np.zeros((len(SYMBOLS), CELL, CELL), np.uint8)
    metrics = np.zeros((3, len(SYMBOLS)), np.float32)
    for g, symbol in enumerate(SYMBOLS):
        ink = glyphs.draw(font, symbol, CELL, LEFT, BASELINE)
        if not ink.any() or np.array_equal(ink, missing):
            return None
        edge = np.concatenate((ink[0], ink[-1], ink[:, 0], ink[:, -1]))
        if edge.any() and symbol.isalnum():  # cut off by the cell
            return None
        fields[g] = glyphs.distance_field(ink)
        columns = np.flatnonzero(ink.any(1))
        left, right = columns[0] / _FINE - LEFT, (columns[-1] + 1) / _FINE - LEFT
        metrics[:, g] = left, right - left, font.getlength(symbol) / _FINE
    digest = hashlib.sha256(content).hexdigest()[:16]
    return fields, metrics, np.array(f"{' '.join(map(str, font.getname()))} {digest}"[:96], "<U96")
