"""Axes of the charts on the report pages, and the SVG elements that they consist of.

All lengths are in units of the SVG: a chart is `WIDTH` units wide, and text is 13 units high.
"""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from crnn_jax.errors import one_line

WIDTH = 420.0
HEIGHT = 300.0
RIGHT, BOTTOM = 12.0, 46.0  # margins
MIN_LOSS = 1e-7  # smaller losses are drawn here, since the axis is logarithmic
_LEFT, _TOP = 66.0, 14.0
_NAME = 34  # maximum number of characters of a name


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis with its title, which includes the unit, and its limits.

    With `names`, the values are 0, 1, ... and have these names. With `whole`, only whole numbers
    are labeled.
    """

    title: str
    low: float
    high: float
    log: bool = False
    names: Sequence[str] = ()
    whole: bool = False

    def share(self, value: float) -> float:
        """The position of a value: 0 at `low`, 1 at `high`. Values outside are moved to the end."""
        low, high, value = (self._scaled(v) for v in (self.low, self.high, value))
        return min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """The labeled values, about five of them."""
        if self.names:
            return list(enumerate(map(shorten, self.names)))
        if self.log:
            return [
                (value, f"{value:g}".replace("e-0", "e-"))
                for value in _log_ticks(self.low, self.high)
            ]
        found = _ticks(self.low, self.high)
        return [(v, f"{v:g}") for v in found if not self.whole or v == round(v)]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, MIN_LOSS)) if self.log else value


def loss_axis(title: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis that shows all values."""
    known = [max(value, MIN_LOSS) for value in values] or [1.0]
    low, high = min(known), max(known)
    return Axis(title, low, high if high > low else 2 * low, log=True)


def percent_axis(title: str) -> Axis:
    """An axis from 0 to 100 %."""
    return Axis(title, 0, 100)


def epoch_axis(values: Iterable[float]) -> Axis:
    """An axis of whole epochs that shows all values."""
    known = list(values) or [1.0]
    return Axis("epoch", min(known), max(max(known), min(known) + 1), whole=True)


def shorten(text: str, most: int = _NAME) -> str:
    """Cuts a name to fit a chart; removes control characters and surrogates."""
    text = one_line(text).encode(errors="replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Frame:
    """The SVG of a chart with its axes. Without a vertical axis, grid lines are vertical only."""

    def __init__(
        self,
        x: Axis,
        y: Axis | None,
        height: float,
        label: str,
        left: float = _LEFT,
        top: float = _TOP,
    ):
        self._x, self._y = x, y
        self._left, self._top = left, top
        self._right, self._bottom = WIDTH - RIGHT, height - BOTTOM
        box = f"0 0 {WIDTH:g} {height:g}"
        attributes = {"class": "chart", "viewBox": box, "role": "img", "aria-label": label}
        self.svg = ElementTree.Element("svg", attributes)
        middle, across = (self._left + self._right) / 2, (self._top + self._bottom) / 2
        long = max((len(text) for _, text in x.ticks()), default=0) > 6
        ends = [self._bottom + 17] + ([self._top - 7] if y is None else [])
        for value, text in x.ticks():
            place = self.at(value, 0)[0]
            add(self.svg, "line", class_="grid", x1=place, x2=place, y1=self._top, y2=self._bottom)
            for end in ends:
                anchor = "end" if long and place > self._right - 20 else "middle"
                at = {"x": place, "y": end, "text_anchor": anchor}
                add(self.svg, "text", text, class_="tick x", **at)
        at = {"x": middle, "y": height - 8, "text_anchor": "middle"}
        add(self.svg, "text", x.title, class_="axis", **at)
        if y is None:
            return
        for value, text in y.ticks():
            place = self.at(x.low, value)[1]
            add(self.svg, "line", class_="grid", x1=self._left, x2=self._right, y1=place, y2=place)
            at = {"x": self._left - 7, "y": place, "text_anchor": "end"}
            add(self.svg, "text", text, class_="tick y", dominant_baseline="central", **at)
        turned = f"translate(14 {across:.1f}) rotate(-90)"
        add(self.svg, "text", y.title, class_="axis", transform=turned, text_anchor="middle")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point."""
        right = self._left + self._x.share(x) * (self._right - self._left)
        up = self._y.share(y) if self._y else 0.0
        return right, self._bottom - up * (self._bottom - self._top)

    def markup(self) -> Markup:
        """The SVG as markup."""
        return markup(self.svg)


def add(
    parent: ElementTree.Element, tag: str, text: str = "", **attributes: Any
) -> ElementTree.Element:
    """Adds an element. In the names of attributes, _ stands for a hyphen; `class_` is class."""
    values = {
        name.rstrip("_").replace("_", "-"): f"{value:.1f}"
        if isinstance(value, float)
        else str(value)
        for name, value in attributes.items()
    }
    element = ElementTree.SubElement(parent, tag, values)
    element.text = one_line(text).encode(errors="replace").decode()
    return element


def markup(svg: ElementTree.Element) -> Markup:
    """Converts an SVG element to markup."""
    text = ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False)
    return Markup(text)  # ElementTree has escaped all texts


def path(points: Iterable[tuple[float, float]]) -> str:
    """The points as an attribute of a polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in the range, at most `most`."""
    width = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(width / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if width / (s * power) <= most - 1)
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(n * step, 12) for n in count]


def _log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten in the range; if there are few, 2 and 5 times a power of ten, too."""
    low, high = max(low, MIN_LOSS), max(high, MIN_LOSS)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    values = [f * 10.0**power for power in powers for f in factors]
    inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    if len(inside) < 2:
        return [value for value in _ticks(low, high) if value > 0]
    return inside[:: -(-len(inside) // most)]
