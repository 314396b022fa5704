"""The distortions of a style's plain text, with the strengths to measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crnn_jax.data.synthetic.style import Style

_PLAIN: Mapping[str, Any] = dict.fromkeys(
    ("jitter", "turn", "shear", "wave_x", "wave_y", "water", "curves", "dots", "blur", "noise"),
    (0, 0),
)


class Distortion(NamedTuple):
    """The unit of a distortion's strength, and the strengths to measure."""

    unit: str
    strengths: Sequence[float]  # from none to the limit of what a person can read


DISTORTIONS: Mapping[str, Distortion] = {
    "turn": Distortion("degrees in either direction", (0, 10, 20, 30, 40)),
    "jitter": Distortion("pixels up or down", (0, 2, 4, 6, 8)),
    "overlap": Distortion("pixels of overlap between neighbors", (0, 2, 4, 6, 8)),
    "wave": Distortion("pixels, along both axes", (0, 2, 4, 6, 8)),
    "water": Distortion("pixels, in rings", (0, 2, 4, 6, 8)),
    "lines": Distortion("curves across the image", (0, 2, 4, 6, 8)),
    "dots": Distortion("share of the pixels", (0, 0.1, 0.2, 0.3, 0.4)),
    "noise": Distortion("standard deviation, gray levels", (0, 40, 80, 120, 160)),
}


def plain(look: Style) -> Style:
    """The style `look` without any distortion."""
    return dataclasses.replace(look, **_PLAIN)


def distorted(look: Style, name: str, low: float, high: float) -> Style:
    """The style `look` with one distortion, of strengths from `low` to `high`."""
    return dataclasses.replace(look, **_changes(name, low, high))


def _changes(name: str, low: float, high: float) -> dict[str, Any]:
    """The style's keys for strengths between `low` and `high`."""
    if name == "turn" or name == "jitter":  # in both directions
        return {name: (-high, high)}
    if name == "overlap":
        return {"spacing": (-high, -low), "spacing_by": "ink"}
    if name == "wave":
        phases = {"wave_x_phase": (0, 1), "wave_y_phase": (0, 1)}
        return {"wave_x": (low, high), "wave_y": (low, high), **phases}
    if name == "water":
        return {name: (low, high), "water_phase": (0, 1)}
    if name == "lines":
        across = {"curve_x": ((0.0, 0.33, 0.67, 1.0),), "curve_width": (2.5,)}
        return {"curves": (int(low), int(high)), **across}
    return {name: (low, high)}
