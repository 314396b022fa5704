"""Styles of generated captchas: small frozen configs.

A pair of numbers is a range: each image (or each glyph, where noted) draws a value uniformly
from it. Lengths are in pixels, angles in degrees, gray levels from 0 to 255.

The `Bounds` of a field limit its numbers, or the length of its string or tuple. Together with
`_check_products` they bound the memory and time that a style can cost.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
import typing
import unicodedata
from typing import Annotated, Any, NamedTuple

import jax

from crnn_jax.data.synthetic import glyphs
from crnn_jax.data.synthetic.look import Drawer
from crnn_jax.errors import ConfigError

CHUNK = 32  # images that are drawn at a time, so that temporaries fit the CPU's cache
CHUNK_PIXELS = 2**20
Range = tuple[float, float]


class Bounds(NamedTuple):
    """Limits of a field: every number lies in [low, high], with at most `items` items."""

    low: float = -math.inf
    high: float = math.inf
    items: int = 0  # maximum items of a string or tuple of any length; at least 1


MAX_PIXELS = 2**18  # width times height
MAX_GLYPHS = 1024  # symbols times faces; each takes 11 kB and about 10 ms
_MAX_STRING = 4096  # characters of a path
_LEVEL = Bounds(0, 255)
_AMPLITUDE = Bounds(-64, 64)
_PHASE = Bounds(-1000, 1000)
_WAVELENGTH = Bounds(0.5, 10_000)
_Curve = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Style:
    """The look of generated images.

    Raises:
      ConfigError: a value has the wrong type or is out of bounds; the message names every key.
    """

    alphabet: Annotated[str, Bounds(items=MAX_GLYPHS)]
    length: Annotated[tuple[int, int], Bounds(1, 64)]  # number of characters, lowest and highest
    width: Annotated[int, Bounds(16, 4096)] = 200
    height: Annotated[int, Bounds(16, 4096)] = 50
    # Font files, or names from `glyphs.faces()`; each image uses one.
    faces: Annotated[tuple[str, ...], Bounds(items=64)] = ("NotoSans-Bold",)
    # The text. If it is too wide for the image, it is drawn smaller.
    size: Annotated[Range, Bounds(4, 512)] = (36, 36)  # pixels per em
    weight: Annotated[Range, Bounds(-16, 16)] = (0, 0)  # added on each side of a stroke
    softness: Annotated[Range, Bounds(0.01, 64)] = (1, 1)  # width of an edge's gray ramp
    # From the edge to the first glyph.
    left: Annotated[Range, Bounds(0, 4096)] = (20, 20)
    baseline: Annotated[Range, Bounds(4, 4096)] = (36, 36)  # from the top
    spacing: Annotated[Range, Bounds(-64, 64)] = (1, 1)  # added between two glyphs
    spacing_by: str = "advance"  # the width of a glyph: 'advance' of the font, or its 'ink'
    stretch: Annotated[Range, Bounds(0.1, 10)] = (1, 1)  # factor of the width, each glyph
    jitter: Annotated[Range, _AMPLITUDE] = (0, 0)  # up or down, each glyph
    turn: Annotated[Range, Bounds(-360, 360)] = (0, 0)  # each glyph
    shear: Annotated[Range, Bounds(-4, 4)] = (0, 0)  # x offset for each pixel up, each glyph
    # Warps: sine waves along the width (by row) and along the height (by column), and circular
    # waves around a point.
    wave_x: Annotated[Range, _AMPLITUDE] = (0, 0)
    wave_x_length: Annotated[Range, _WAVELENGTH] = (94, 94)
    wave_x_phase: Annotated[Range, _PHASE] = (0, 0)  # turns
    wave_y: Annotated[Range, _AMPLITUDE] = (0, 0)
    wave_y_length: Annotated[Range, _WAVELENGTH] = (31, 31)
    wave_y_phase: Annotated[Range, _PHASE] = (0, 0)
    water: Annotated[Range, _AMPLITUDE] = (0, 0)
    water_length: Annotated[Range, _WAVELENGTH] = (2, 2)
    water_phase: Annotated[Range, _PHASE] = (0, 0)
    water_radius: Annotated[Range, Bounds(0.5, 10_000)] = (50, 50)
    water_at_x: Annotated[Range, Bounds(-4, 5)] = (0.5, 0.5)  # fraction of the width
    water_at_y: Annotated[Range, Bounds(-4, 5)] = (0.5, 0.5)
    # Curves in front: cubic Bezier curves drawn as chords. The control points' x are fractions of
    # the width, one row a curve, used in turn; their y are random.
    curves: Annotated[tuple[int, int], Bounds(0, 16)] = (0, 0)  # how many, lowest and highest
    curve_x: Annotated[tuple[_Curve, ...], Bounds(-4, 5, 64)] = ((0.0, 0.33, 0.67, 1.0),)
    # Width of the first chord, the second, ...; the last width applies to the rest.
    curve_width: Annotated[tuple[float, ...], Bounds(0.1, 64, 64)] = (1.5,)
    # A curve is split in two until its control points lie this close to a chord.
    curve_flatness: Annotated[float, Bounds(0, 1000)] = 2.0
    # Gray levels of ink and paper; with `colour` each channel is drawn independently.
    colour: bool = False
    ink: Annotated[Range, _LEVEL] = (0, 0)
    ink_each: bool = False  # each glyph has its own ink
    curve_ink: Annotated[Range, _LEVEL] = (0, 0)
    paper: Annotated[Range, _LEVEL] = (255, 255)  # at the left
    paper_end: Annotated[Range, _LEVEL] = (255, 255)  # at the right
    # Share of the pixels that are ink, in steps of 1/256.
    dots: Annotated[Range, Bounds(0, 1)] = (0, 0)
    blur: Annotated[Range, Bounds(0, 1)] = (0, 0)  # 1 is the mean over 3x3 pixels
    noise: Annotated[Range, _LEVEL] = (0, 0)  # standard deviation, gray levels

    def __post_init__(self) -> None:
        wrong = []
        for key, kind in _fields().items():
            value = getattr(self, key)
            try:
                converted = _converted(kind, value, key)
            except ConfigError as error:
                wrong.append(str(error))
                continue
            if converted != value:  # lists; 36 and 36.0 stay what they are, for the fingerprint
                object.__setattr__(self, key, converted)
        # The rules below read fields that have the right types.
        if bad := wrong or [*_check_alphabet(self.alphabet), *_check_products(self)]:
            raise ConfigError(f"a style's {'; '.join(bad)}")

    @property
    def chunk(self) -> int:
        """The number of images drawn at a time. It falls with the pixels, to bound the memory."""
        return min(CHUNK, max(1, CHUNK_PIXELS // (self.width * self.height)))

    def drawer(self) -> Drawer:
        """See `Look`: images u8 [B, W, H, C], C 3 in color and else 1."""
        from crnn_jax.data.synthetic import render  # which imports this module

        atlas = jax.device_put(render.atlas_of(self))
        return lambda seed, numbers: render.images(atlas, seed, numbers, style=self)

    def static_part(self) -> Style:
        """Returns the style with ranges reduced to off or on, as the key of a compiled program."""
        changes: dict[str, Any] = {}
        for key, default in _ranges().items():
            off_or_on = (0.0, 0.0) if getattr(self, key) == (0, 0) else (1.0, 1.0)
            changes[key] = off_or_on if default == (0, 0) else default
        static = object.__new__(Style)  # skips the checks, which are for values of users
        static.__dict__.update({**self.__dict__, **changes})
        return static

    def describe(self) -> dict[str, Any]:
        """Returns plain values and digests of the fonts: everything that an image depends on."""
        fonts = {face: glyphs.digest(face) for face in self.faces}
        # Since version 2, the middle of a glyph is at least a pixel right of the previous one's.
        spacing = {"spacing_version": 2} if self.spacing[0] < 0 else {}
        return {**dataclasses.asdict(self), "fonts": fonts, **spacing}


def from_values(base: Style, values: dict[str, Any]) -> Style:
    """Returns `base` with changes by key. ConfigError names an unknown key or a bad value."""
    kinds = _fields()
    fields = {_KEYS.get(field, field): field for field in kinds}
    if unknown := [key for key in values if key not in fields and key not in kinds]:
        raise ConfigError(
            f"a style has no key {reprlib.repr(unknown[0])}; its keys are {', '.join(fields)}"
        )
    changes = {}
    for key, value in values.items():
        field = fields.get(key, key)
        if field in changes:
            names = f"{field} and {_KEYS[field]}"
            raise ConfigError(f"a style has the keys {names}, which are the same")
        changes[field] = _converted(kinds[field], value, key)
    return dataclasses.replace(base, **changes)


# The keys of style files for fields that keep their first name, because fingerprints contain it.
_KEYS = {"colour": "color"}


@functools.cache
def _fields() -> dict[str, Any]:
    return typing.get_type_hints(Style, include_extras=True)


@functools.cache
def _ranges() -> dict[str, Any]:
    """Returns the defaults of the fields that are drawn from a range."""
    kinds = typing.get_type_hints(Style)
    return {f.name: f.default for f in dataclasses.fields(Style) if kinds[f.name] == Range}


def _converted(kind: Any, value: Any, key: str) -> Any:
    """Converts a value to its field's type. ConfigError names the key if it does not fit."""
    bounds = Bounds()
    if typing.get_origin(kind) is Annotated:
        kind, bounds = typing.get_args(kind)
    result = _typed(kind, value, bounds)
    if result is None:
        shown = reprlib.repr(value)
        raise ConfigError(f"{key} cannot be {shown}: it must be {_rule(kind, bounds)}")
    if kind in (Range, tuple[int, int]) and result[0] > result[1]:
        shown = reprlib.repr(value)
        raise ConfigError(f"{key} cannot be {shown}: the first number must be the lower one")
    return result


def _typed(kind: Any, value: Any, bounds: Bounds) -> Any:
    """Converts a value to a type. Returns None for another type or a value out of bounds."""
    if parts := typing.get_args(kind):
        is_open = parts[-1] is ...
        most = bounds.items if is_open else len(parts)
        if not isinstance(value, (list, tuple)) or not (1 if is_open else most) <= len(value):
            return None
        if len(value) > most:
            return None
        inner = [parts[0]] * len(value) if is_open else list(parts)
        each = bounds._replace(items=0)
        items = tuple(_typed(k, v, each) for k, v in zip(inner, value, strict=True))
        return None if None in items else items
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not kind:
        return None
    if kind is str:
        return value if 1 <= len(value) <= (bounds.items or _MAX_STRING) else None
    # NaN lies in no interval.
    return value if kind is bool or bounds.low <= value <= bounds.high else None


def _rule(kind: Any, bounds: Bounds) -> str:
    """Describes what a field accepts, for a message."""
    limits = f" from {bounds.low:g} to {bounds.high:g}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return f"a string of 1 to {bounds.items or _MAX_STRING} characters"
    if kind in (int, float):
        return f"{'a whole number' if kind is int else 'a number'}{limits}"
    first, *rest = typing.get_args(kind)
    count = f"1 to {bounds.items}" if ... in rest else f"{1 + len(rest)}"
    if first is str:
        return f"a list of {count} strings"
    if first in (int, float):
        return f"a list of {count} {'whole numbers' if first is int else 'numbers'}{limits}"
    return f"a list of {count} rows of {len(typing.get_args(first))} numbers{limits}"


def _check_alphabet(alphabet: str) -> list[str]:
    """Returns complaints about symbols that a label file would not return as they were drawn."""
    twice = sorted({c for c in alphabet if alphabet.count(c) > 1})
    odd = [c for c in alphabet if not _is_symbol(c)]
    wrong = []
    if twice:
        wrong.append(f"alphabet cannot be {reprlib.repr(alphabet)}: it repeats {_some(twice)}")
    if odd:
        wrong.append(
            f"alphabet cannot be {reprlib.repr(alphabet)}: {_some(odd)} cannot be part of a label "
            "(symbols are visible characters in Unicode's composed form, NFC)"
        )
    return wrong


def _is_symbol(c: str) -> bool:
    """Whether a character is visible, and NFC leaves every text that contains it unchanged."""
    category = unicodedata.category(c)
    # NFC joins combining marks and Hangul vowels and finals to the character before.
    joins = category[0] == "M" or "\u1160" <= c <= "\u11ff"
    hidden = category[0] in "CZ" and category != "Co"
    return not (joins or hidden or c.isspace()) and unicodedata.is_normalized("NFC", c)


def _some(symbols: list[str]) -> str:
    return ascii("".join(symbols[:10])) + (f" and {len(symbols) - 10} more" * (len(symbols) > 10))


def _check_products(style: Style) -> list[str]:
    """Returns complaints about fields that are within bounds one by one but not together."""
    width, height, (_, longest) = style.width, style.height, style.length
    last = style.left[1] + max(style.spacing[1], 0) * (longest - 1)
    levels = {*style.ink, *style.paper, *style.paper_end}
    rules = [
        (
            style.spacing_by in ("advance", "ink"),
            f"spacing_by cannot be {reprlib.repr(style.spacing_by)}: it must be advance or ink",
        ),
        (width * height <= MAX_PIXELS, f"width times height must be at most {MAX_PIXELS}"),
        (
            len(style.alphabet) * len(style.faces) <= MAX_GLYPHS,
            f"alphabet times faces must be at most {MAX_GLYPHS} glyphs",
        ),
        # Text keeps at least a quarter of the width: see `text_layout.place`.
        (
            last <= 0.75 * width - 4,
            "left and spacing must leave a quarter of the width for the longest text",
        ),
        (style.spacing[0] >= -style.size[0], "spacing must be at least the negative of size"),
        (style.baseline[1] <= height, "baseline must be at most height"),
        (len(levels) > 1, "ink and paper must differ: text would be invisible"),
    ]
    return [rule for holds, rule in rules if not holds]
