"""Glyphs of real fonts as distance fields, computed on the host once for an alphabet and faces.

A distance field holds the distance of each pixel from the outline. A glyph can therefore be drawn
at any size and angle, with strokes of any weight, by sampling one small image (Green 2007,
"Improved alpha-tested magnification for vector textures and special effects").
"""

from __future__ import annotations

import functools
import hashlib
import io
import reprlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_jax.data.synthetic import interpolation
from crnn_jax.errors import ConfigError, one_line
from crnn_jax.runtime import files

MAX_BYTES = 2**27  # maximum bytes of a font file
FONTS = Path(__file__).parent / "fonts"
EM = 32  # pixels per em in the atlas
CELL = 52  # pixels of a cell's side; the origin lies at (LEFT, BASELINE)
LEFT, BASELINE = 10, 36
FINE = 4  # the outline is found on a grid this much finer
UNITS = 16  # steps of a distance field per pixel
ZERO = 128  # value on the outline; larger values are inside


class Atlas(NamedTuple):
    """F faces of G symbols; distances and metrics in pixels, at EM pixels per em."""

    # u32 [F, G, CELL, CELL], x first, as `interpolation.packed` makes them: one lookup is enough to
    # interpolate.
    fields: np.ndarray
    ink_left: np.ndarray  # f32 [F, G], from the origin to where the ink begins
    ink_width: np.ndarray  # f32 [F, G]
    advance: np.ndarray  # f32 [F, G], from an origin to the next, as in the font
    middle: np.ndarray  # f32 [F], from the baseline up to half of the x-height


def faces() -> tuple[str, ...]:
    """Returns the names of the faces that come with the package."""
    return tuple(sorted(path.stem for path in FONTS.glob("*.ttf")))


def path_of(face: str) -> Path:
    """Returns the file of a face, a name from `faces` or the path of a font; else ConfigError."""
    path = FONTS / f"{face}.ttf" if face in faces() else Path(face)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # the operating system does not accept the name
        pass
    raise ConfigError(
        f"there is no face {reprlib.repr(face)}; name a font file or {', '.join(faces())}"
    )


def digest(face: str) -> str:
    """Returns the sha256 of a face's file. ConfigError if it cannot be read."""
    return hashlib.sha256(_read(face)).hexdigest()


@functools.lru_cache(maxsize=8)
def atlas(alphabet: str, names: tuple[str, ...]) -> Atlas:
    """Draws the symbols of `alphabet` in each face.

    Raises:
      ConfigError: a face does not exist, is not a font, or lacks a symbol.
    """
    shape = (len(names), len(alphabet))
    fields = np.zeros((*shape, CELL, CELL), np.uint8)
    metrics = np.zeros((3, *shape), np.float32)
    middle = np.zeros(len(names), np.float32)
    for f, name in enumerate(names):
        content = _read(name)
        try:
            font = ImageFont.truetype(io.BytesIO(content), EM * FINE)
            fields[f], metrics[:, f], middle[f] = _face(font, alphabet, name)
        except ConfigError:
            raise
        # FreeType and Pillow raise many kinds of errors on damaged fonts.
        except Exception as error:
            reason = f"{one_line(name)} is not a font that Pillow reads: {error}"
            raise ConfigError(reason) from error
    left_edge, ink_width, advance = metrics
    packed = np.asarray(interpolation.packed(fields.reshape(-1, CELL, CELL))).reshape(fields.shape)
    return Atlas(packed, left_edge, ink_width, advance, middle)


def _read(face: str) -> bytes:
    path = path_of(face)
    try:
        return files.read(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"the face {one_line(face)} cannot be read: {error.strerror}") from error


def _face(
    font: ImageFont.FreeTypeFont, alphabet: str, name: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the fields u8 [G, CELL, CELL], metrics f32 [3, G] and the middle of one face."""
    # A font draws a symbol that it lacks like this character, which no font has.
    missing = draw(font, "\U0010fffe", CELL, LEFT, BASELINE)
    fields = np.zeros((len(alphabet), CELL, CELL), np.uint8)
    metrics = np.zeros((3, len(alphabet)), np.float32)
    for g, symbol in enumerate(alphabet):
        ink = draw(font, symbol, CELL, LEFT, BASELINE)
        if not ink.any() or np.array_equal(ink, missing):
            raise ConfigError(f"the face {one_line(name)} has no glyph for {symbol!r}")
        if ink[[0, -1]].any() or ink[:, [0, -1]].any():
            raise ConfigError(
                f"the face {one_line(name)} draws {symbol!r} larger than a cell; leave the symbol "
                "out of the alphabet, or choose another face"
            )
        fields[g] = distance_field(ink)
        columns = np.flatnonzero(ink.any(1))
        left, right = columns[0] / FINE - LEFT, (columns[-1] + 1) / FINE - LEFT
        metrics[:, g] = left, right - left, font.getlength(symbol) / FINE
    middle = -font.getbbox("x", anchor="ls")[1] / FINE / 2
    if not np.isfinite(metrics).all() or not np.isfinite(middle):
        raise ConfigError(f"the face {one_line(name)} has metrics that are not finite")
    return fields, metrics, middle


def draw(
    font: ImageFont.FreeTypeFont, symbol: str, cell: int, left: int, baseline: int
) -> np.ndarray:
    """Returns which points are inside a symbol's outline, bool [x, y] on a cell's fine grid.

    Args:
      font: at FINE times the size that it has in the cell.
      symbol: one character.
      cell: side of the cell, in pixels.
      left: pixels from the left edge to the origin.
      baseline: pixels from the top edge to the origin.
    """
    image = Image.new("L", (cell * FINE, cell * FINE))
    at = (left * FINE, baseline * FINE)
    ImageDraw.Draw(image).text(at, symbol, 255, font, anchor="ls")
    return np.asarray(image).T > 127


def distance_field(ink: np.ndarray) -> np.ndarray:
    """Returns the signed distance from the outline, u8 [CELL, CELL], at the centers of pixels."""
    from scipy.ndimage import distance_transform_edt  # slow to import, and used only here

    # The outline is half a fine pixel nearer than the center of the nearest other pixel.
    inside, outside = distance_transform_edt(ink), distance_transform_edt(~ink)
    fine = np.where(ink, inside - 0.5, 0.5 - outside) / FINE
    # The center of a pixel is a corner of four fine pixels: take their mean.
    h = FINE // 2
    corners = [fine[h - i :: FINE, h - j :: FINE] for i in (0, 1) for j in (0, 1)]
    field = np.clip(np.rint(ZERO + UNITS * sum(corners) / 4), 0, 255)
    return np.asarray(field, np.uint8)
