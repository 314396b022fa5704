"""The styles that come with the package, and styles in files."""

from __future__ import annotations

import collections
import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.data.synthetic import style
from crnn_jax.data.synthetic.style import Style
from crnn_jax.errors import ConfigError, one_line
from crnn_jax.runtime import files

MAX_BYTES = 2**24  # maximum bytes of a style file

_SANS = ("ClearSans-Bold", "Go-Bold", "Go-Medium", "NotoSans-Bold", "OpenSans-Bold")
_ALL = (*_SANS, "DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold")
_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ACROSS = ((0.0, 0.33, 0.67, 1.0),)

# A stand-in for CAPTCHA Version 2 Images, chosen by looking at the images, which Kaptcha drew
# with its defaults: 200x50, five characters, a gray gradient, JH Labs' water and ripple filters,
# two Bezier curves that thin out. The ranges are wider than those of Kaptcha.
_CAPTCHA_V2 = Style(
    alphabet="2345678bcdefgmnpwxy",
    length=(5, 5),
    width=200,
    height=50,
    faces=_SANS,
    size=(35.5, 41),
    weight=(-0.4, 0.7),
    softness=(0.8, 1.8),
    left=(26, 31),
    baseline=(40, 44),
    spacing=(0.5, 3.5),
    spacing_by="ink",
    stretch=(0.9, 1.06),
    wave_x=(1.8, 3.2),
    wave_x_length=(85, 104),
    wave_y=(1.2, 2.2),
    wave_y_length=(28, 35),
    water=(1.5, 4.0),
    water_length=(1.9, 2.1),
    water_phase=(0.0, 1.0),
    water_radius=(44, 56),
    water_at_x=(0.49, 0.51),
    water_at_y=(0.48, 0.52),
    curves=(2, 2),
    curve_x=((0.1, 0.1, 0.25, 0.25), (0.1, 0.25, 0.5, 0.9)),
    curve_width=(3.6, 2.7, 1.8),
    paper=(188, 196),
    paper_end=(250, 255),
    noise=(0, 3),
)

STYLES: dict[str, Style] = {
    "captcha_v2": _CAPTCHA_V2,
    # Text only.
    "plain": Style(
        alphabet="0123456789",
        length=(4, 6),
        width=160,
        height=50,
        faces=("DejaVuSans-Bold", "NotoSans-Bold"),
        size=(30, 36),
        left=(8, 30),
        baseline=(34, 40),
    ),
    # Letters of both cases, rotated and shifted, each in its own color.
    "confetti": Style(
        alphabet="23456789" + _UPPER + "abcdefghjkmnpqrstuvwxyz",
        length=(5, 6),
        width=200,
        height=60,
        faces=_ALL,
        size=(32, 42),
        left=(8, 20),
        baseline=(40, 46),
        spacing=(1, 4),
        spacing_by="ink",
        jitter=(-5, 5),
        turn=(-22, 22),
        shear=(-0.15, 0.15),
        curves=(1, 4),
        curve_x=_ACROSS,
        colour=True,
        ink=(0, 150),
        ink_each=True,
        curve_ink=(0, 190),
        paper=(200, 255),
        paper_end=(200, 255),
        noise=(0, 12),
    ),
    # Gray, grainy, of four to eight capitals and digits.
    "noisy": Style(
        alphabet="0123456789" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        length=(4, 8),
        width=220,
        height=70,
        faces=_SANS,
        size=(34, 44),
        softness=(1, 3),
        left=(8, 24),
        baseline=(44, 54),
        spacing=(0, 3),
        turn=(-12, 12),
        curves=(2, 6),
        curve_x=_ACROSS,
        curve_width=(2.0,),
        curve_ink=(0, 120),
        ink=(0, 90),
        paper=(140, 220),
        paper_end=(140, 220),
        dots=(0, 0.06),
        blur=(0, 1),
        noise=(5, 35),
    ),
    # Lower case that touches and overlaps, on a slow wave.
    "crowded": Style(
        alphabet="abcdefghijkmnpqrstuvwxyz",
        length=(6, 7),
        width=180,
        height=60,
        faces=("DejaVuSerif-Bold", "DejaVuSans-Bold", "NotoSans-Bold"),
        size=(36, 44),
        left=(6, 20),
        baseline=(38, 46),
        spacing=(-4, -1),
        spacing_by="ink",
        stretch=(0.85, 1.1),
        jitter=(-3, 3),
        wave_x=(0, 4),
        wave_x_length=(40, 80),
        wave_x_phase=(0, 1),
        wave_y=(0, 5),
        wave_y_length=(60, 140),
        wave_y_phase=(0, 1),
        curves=(1, 1),
        curve_x=_ACROSS,
        curve_width=(3.0,),
        curve_ink=(0, 60),
        ink=(0, 60),
        paper=(225, 255),
        paper_end=(225, 255),
    ),
    # Small light digits on dark colors.
    "night": Style(
        alphabet="0123456789",
        length=(4, 4),
        width=100,
        height=40,
        faces=("DejaVuSansMono-Bold", "Go-Bold", "ClearSans-Bold"),
        size=(24, 30),
        left=(6, 24),
        baseline=(28, 33),
        spacing=(0, 3),
        jitter=(-3, 3),
        turn=(-15, 15),
        colour=True,
        ink=(170, 255),
        curves=(0, 3),
        curve_x=_ACROSS,
        curve_width=(1.2,),
        curve_ink=(100, 220),
        paper=(0, 90),
        paper_end=(0, 90),
        dots=(0, 0.04),
        noise=(0, 10),
    ),
}


def load(name: str) -> Style:
    """Returns the style with that name, or the style in a JSON file.

    The file has keys of Style; `base` names the style that provides the rest.

    Raises:
      ConfigError: the style or file does not exist, or the file has a bad key or value.
    """
    if name in STYLES:
        return STYLES[name]
    path = Path(name)
    if path.suffix != ".json":
        raise ConfigError(
            f"there is no style {reprlib.repr(name)}; the styles are {', '.join(STYLES)} and "
            "wide; or give the path of a .json or .npz file"
        )
    try:
        text = files.read(path, MAX_BYTES).decode("utf-8-sig")
        try:
            values = json.loads(text, object_pairs_hook=_object)
        except RecursionError:
            raise ConfigError(f"{_deep_key(text)} is nested too deeply") from None
        return from_values(values)
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, ConfigError) as error:  # bytes that are not UTF-8 or JSON, a bad value
        reason = str(error)
    raise ConfigError(f"the style {one_line(name)} cannot be read: {reason}")


def from_values(values: Mapping[str, Any]) -> Style:
    """Returns a style from plain values; the style named by `base` provides the rest.

    Raises:
      ConfigError: a key or value is bad; the message names the key.
    """
    base = values.get("base", "plain") if isinstance(values, Mapping) else None
    if not isinstance(base, str) or base not in STYLES:
        shown = f", not {reprlib.repr(base)}" if isinstance(values, Mapping) else ""
        raise ConfigError(f"a style is an object whose base is one of {', '.join(STYLES)}{shown}")
    changes = {key: value for key, value in values.items() if key != "base"}
    return style.from_values(STYLES[base], changes)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object. ConfigError if it has a key twice: which value counts is unclear."""
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        raise ConfigError(f"the key {reprlib.repr(counts.most_common(1)[0][0])} occurs twice")
    return result


def _deep_key(text: str) -> str:
    """Returns the top-level key of a JSON object whose value is nested most deeply."""
    depth, deepest, last, key = 0, 0, "", ""
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth > deepest:
                    deepest, key = depth, last
            case "]" | "}":
                depth -= 1
            case string if depth == 1:
                last = string
    return reprlib.repr(key.strip('"'))
