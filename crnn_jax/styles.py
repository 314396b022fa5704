"""The styles that come with the package, and those in files."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import ConfigError
from crnn_jax.style import Style

_SANS = ("ClearSans-Bold", "Go-Bold", "Go-Medium", "NotoSans-Bold", "OpenSans-Bold")
_ALL = (*_SANS, "DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold")
_UPPER = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ACROSS = ((0.0, 0.33, 0.67, 1.0),)

# A stand-in for CAPTCHA Version 2 Images, found by looking at them. They are the work of Kaptcha
# with its defaults: 200x50, five characters, a grey gradient, JH Labs' water and ripple filters,
# two Bezier curves that thin out. The ranges are wider than what that library draws.
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
    # Nothing but text.
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
    # Letters of both cases, turned and shaken, each in a colour of its own.
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
    # Grey, grainy, of four to eight capitals and digits.
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
    # Small light digits on dark colours.
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
    """The style of that name, or of a JSON file: keys of Style, those left out as `base` has them.

    Raises:
      ConfigError: there is no such style or file, or a key or value is wrong.
    """
    if name in STYLES:
        return STYLES[name]
    path = Path(name)
    if path.suffix != ".json":
        raise ConfigError(
            f"there is no style {name!r}; there are {', '.join(STYLES)}, and paths to .json files"
        )
    try:
        values = json.loads(path.read_text("utf-8"))
        return from_values(values)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"the style {path} cannot be read: {error}") from error


def from_values(values: Mapping[str, Any]) -> Style:
    """A style of plain values; `base` names the style that gives the rest. ConfigError by key."""
    if not isinstance(values, Mapping) or values.get("base", "plain") not in STYLES:
        raise ConfigError(f"a style is an object whose base is one of {', '.join(STYLES)}")
    base = STYLES[values.get("base", "plain")]
    kinds = typing.get_type_hints(Style)
    changes = {key: value for key, value in values.items() if key != "base"}
    for key, value in changes.items():
        if key not in kinds:
            raise ConfigError(f"a style has no {key!r}; it has {', '.join(kinds)}")
        changes[key] = _convert(kinds[key], value, key)
    return dataclasses.replace(base, **changes)


def _convert(kind: Any, value: Any, key: str) -> Any:
    parts = typing.get_args(kind)
    if parts and isinstance(value, (list, tuple)):
        kinds = [parts[0]] * len(value) if parts[-1] is ... else list(parts)
        if len(kinds) == len(value):
            return tuple(_convert(k, v, key) for k, v in zip(kinds, value, strict=True))
    elif kind is float and type(value) is int:
        return float(value)
    elif type(value) is kind:
        return value
    raise ConfigError(f"{key} cannot be {value!r}")
