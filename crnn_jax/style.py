"""Styles of generated captchas: small frozen configs, as data.

A pair of numbers is a range that each picture (or each glyph, where it says so) draws from,
evenly. Lengths are in pixels, angles in degrees, grey levels 0 to 255.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from crnn_jax import glyphs
from crnn_jax.errors import ConfigError

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Style:
    alphabet: str
    length: tuple[int, int]  # characters, the fewest and the most
    width: int = 200
    height: int = 50
    faces: tuple[str, ...] = ("NotoSans-Bold",)  # one a picture: glyphs.faces(), or font files
    # The text. What is too wide for the picture is drawn smaller.
    size: Range = (36, 36)  # of an em
    weight: Range = (0, 0)  # added on each side of a stroke
    softness: Range = (1, 1)  # from the first to the last grey of an edge
    left: Range = (20, 20)  # from the edge to the first glyph's ink
    baseline: Range = (36, 36)  # from the top
    spacing: Range = (1, 1)  # between two glyphs, besides their own
    spacing_by: str = "advance"  # 'advance', as the font would; 'ink', its width alone
    stretch: Range = (1, 1)  # of the width of a glyph, each
    jitter: Range = (0, 0)  # up or down, each glyph
    turn: Range = (0, 0)  # each glyph
    shear: Range = (0, 0)  # offset along the width for each pixel up, each glyph
    # Warps: sine waves along the width (by row) and along the height (by column), and rings of
    # water around a point.
    wave_x: Range = (0, 0)
    wave_x_length: Range = (94, 94)
    wave_x_phase: Range = (0, 0)  # turns
    wave_y: Range = (0, 0)
    wave_y_length: Range = (31, 31)
    wave_y_phase: Range = (0, 0)
    water: Range = (0, 0)
    water_length: Range = (2, 2)
    water_phase: Range = (0, 0)
    water_radius: Range = (50, 50)
    water_at_x: Range = (0.5, 0.5)  # share of the width
    water_at_y: Range = (0.5, 0.5)
    # Curves in front: cubic Bezier curves drawn as chords. The control points' x are shares of
    # the width, one row a curve, taken in turn; their y are random.
    curves: tuple[int, int] = (0, 0)  # how many, the fewest and the most
    curve_x: tuple[tuple[float, float, float, float], ...] = ((0.0, 0.33, 0.67, 1.0),)
    curve_width: tuple[float, ...] = (1.5,)  # of the first chord, the second ...; the last stays
    curve_flatness: float = 2.0  # the curve is cut in two until its points are this near a chord
    # Ink and paper, grey levels; `colour` draws each channel by itself.
    colour: bool = False
    ink: Range = (0, 0)
    ink_each: bool = False  # an ink for each glyph
    curve_ink: Range = (0, 0)
    paper: Range = (255, 255)  # at the left
    paper_end: Range = (255, 255)  # at the right
    dots: Range = (0, 0)  # share of the pixels that are ink instead
    blur: Range = (0, 0)  # 1 is a mean over 3x3 pixels
    noise: Range = (0, 0)  # deviation, grey levels

    def __post_init__(self) -> None:
        shortest, longest = self.length
        wrong = {
            "alphabet": not self.alphabet or len(set(self.alphabet)) < len(self.alphabet),
            "length": not 1 <= shortest <= longest,
            "width": self.width < 16,
            "height": self.height < 16,
            "faces": not self.faces,
            "spacing_by": self.spacing_by not in ("advance", "ink"),
            "curves": not 0 <= self.curves[0] <= self.curves[1],
            "curve_x": not self.curve_x,
            "curve_width": not self.curve_width,
            "size": self.size[0] < 4,
            "softness": self.softness[0] <= 0,
            "stretch": self.stretch[0] <= 0,
            "wave_x_length": self.wave_x_length[0] <= 0,
            "wave_y_length": self.wave_y_length[0] <= 0,
            "water_length": self.water_length[0] <= 0,
            "water_radius": self.water_radius[0] <= 0,
        }
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "Range":
                wrong[field.name] = wrong.get(field.name, False) or not value[0] <= value[1]
        if bad := [
            f"{name} cannot be {getattr(self, name)!r}" for name, is_ in wrong.items() if is_
        ]:
            raise ConfigError(f"a style's {'; '.join(bad)}")

    def frame(self) -> Style:
        """The style without its ranges but for what is on at all: what makes a program."""
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.type == "Range":
                default, value = field.default, getattr(self, field.name)
                off_or_on = (0.0, 0.0) if value == (0, 0) else (1.0, 1.0)
                changes[field.name] = off_or_on if default == (0, 0) else default
        return dataclasses.replace(self, **changes)

    def describe(self) -> dict[str, Any]:
        """Plain values, and the digests of the font files: what a picture depends on."""
        fonts = {face: glyphs.digest(face) for face in self.faces}
        return {**dataclasses.asdict(self), "fonts": fonts}
