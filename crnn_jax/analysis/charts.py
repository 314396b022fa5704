"""Charts of the report pages, as inline SVG. The style sheet of the page has their colors."""

from __future__ import annotations

import statistics
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from crnn_jax.analysis.axes import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    WIDTH,
    Axis,
    Frame,
    add,
    markup,
    path,
    shorten,
)

_MARKERS_PER_LINE = 6
_MOST_RATIO = 5  # ratio of the range of a forest plot to that of its better half


class Point(NamedTuple):
    """A point of a line, with the range that is drawn behind the line."""

    x: float
    y: float
    low: float
    high: float


class Line(NamedTuple):
    """A line of a chart."""

    name: str
    points: Sequence[Point]


class Interval(NamedTuple):
    """A row of a forest plot."""

    name: str
    value: float
    low: float
    high: float
    text: str  # the numbers, as they are written above the interval


class Spot(NamedTuple):
    """A point of a scatter plot, with a label."""

    x: float
    y: float
    radius: float
    label: str


def lines(series: Sequence[Line], x: Axis, y: Axis, label: str, shown: int | None = None) -> Markup:
    """Lines with the range behind each; line n is a group of the class `series` with `data-series`.

    Args:
      series: lines differ in color, dash pattern and markers.
      x: the horizontal axis.
      y: the vertical axis.
      label: the text for screen readers.
      shown: the number of lines that are visible at first; None for all.
    """
    frame = Frame(x, y, HEIGHT, label)
    for number, line in enumerate(series):
        group = add(frame.svg, "g", class_=f"series {_style(number)}", data_series=number)
        if shown is not None and number >= shown:
            group.set("hidden", "")
        add(group, "title", line.name)
        middle = [frame.at(point.x, point.y) for point in line.points]
        if any(point.low < point.high for point in line.points):
            upper = [frame.at(point.x, point.high) for point in line.points]
            lower = [frame.at(point.x, point.low) for point in line.points]
            add(group, "polygon", class_="range", points=path(upper + lower[::-1]))
        add(group, "polyline", class_="line", points=path(middle))
        every = max(1, -(-len(middle) // _MARKERS_PER_LINE))
        for at in middle[number % every :: every] or middle[-1:]:
            add(group, "path", class_="marker", d=_marker(number, *at))
    return frame.markup()


def sample(number: int) -> Markup:
    """The line and marker of line `number`, for a legend."""
    svg = ElementTree.Element("svg", {"class": "sample", "viewBox": "0 0 36 14"})
    svg.set("aria-hidden", "true")
    group = add(svg, "g", class_=f"series {_style(number)}")
    add(group, "polyline", class_="line", points="1,7 35,7")
    add(group, "path", class_="marker", d=_marker(number, 18, 7))
    return markup(svg)


def forest(rows: Sequence[Interval], title: str, label: str, reference: float | None) -> Markup:
    """A forest plot: one row per interval, with the name and the numbers above it.

    If a few low values would squeeze all other intervals together, they are outside the axis, and
    arrows point to them.

    Args:
      rows: the intervals, from top to bottom.
      title: the title of the axis, with its unit.
      label: the text for screen readers.
      reference: the value of a vertical line through all rows.
    """
    row_height, top = 38.0, 24.0
    low, high, all_shown = _limits(rows, reference)
    if not all_shown:
        title += f" (arrows: below {low:.3g})"
    height = top + row_height * len(rows) + BOTTOM
    frame = Frame(Axis(title, low, high), None, height, label, left=RIGHT, top=top)
    if reference is not None:
        place, bottom = frame.at(reference, 0)[0], height - BOTTOM
        add(frame.svg, "line", class_="reference", x1=place, x2=place, y1=top, y2=bottom)
    for number, row in enumerate(rows):
        y = top + row_height * number + 27
        group = add(frame.svg, "g", class_="row")
        add(group, "title", f"{row.name}: {row.text}")
        add(group, "text", shorten(row.name), class_="name", x=RIGHT, y=y - 11)
        end = {"text_anchor": "end", "x": WIDTH - RIGHT, "y": y - 11}
        add(group, "text", row.text, class_="numbers", **end)
        left, right, value = (frame.at(v, 0)[0] for v in (row.low, row.high, row.value))
        if row.low < low:
            add(group, "path", class_="arrow", d=f"M{left:.1f} {y:.1f}l9 -5v10z")
        else:
            add(group, "line", class_="interval", x1=left, x2=left, y1=y - 4, y2=y + 4)
        if row.high >= low:
            add(group, "line", class_="interval", x1=left, x2=right, y1=y, y2=y)
            add(group, "line", class_="interval", x1=right, x2=right, y1=y - 4, y2=y + 4)
        if row.value >= low:
            add(group, "circle", class_="value", cx=value, cy=y, r=4.5)
    return frame.markup()


def scatter(spots: Sequence[Spot], x: Axis, y: Axis, label: str) -> Markup:
    """Labeled points, and the diagonal."""
    frame = Frame(x, y, HEIGHT, label)
    ends = path([frame.at(x.low, y.low), frame.at(x.high, y.high)])
    add(frame.svg, "polyline", class_="reference", points=ends)
    for spot in spots:
        cx, cy = frame.at(spot.x, spot.y)
        add(frame.svg, "circle", class_="spot", cx=cx, cy=cy, r=spot.radius)
        # Above the point there may be no room, and the point may be large.
        away = spot.radius + 14 if cy < HEIGHT / 2 else -spot.radius - 5
        place = {"text_anchor": "middle", "x": min(cx, WIDTH - 24), "y": cy + away}
        add(frame.svg, "text", spot.label, class_="numbers", **place)
    return frame.markup()


def matrix(names: Sequence[str], counts: Mapping[tuple[int, int], int], label: str) -> Markup:
    """A confusion matrix: truths in rows, readings in columns. Colors show shares of a row.

    Args:
      names: the names of the rows and of the columns.
      counts: the counts by row and column.
      label: the text for screen readers.
    """
    side, left, top = 24.0, 52.0, 52.0
    size = [left + side * len(names) + 8, top + side * len(names) + 8]
    svg = ElementTree.Element("svg", {"class": "chart matrix", "role": "img", "aria-label": label})
    svg.set("viewBox", f"0 0 {size[0]:g} {size[1]:g}")
    svg.set("style", f"width:{size[0]:g}px")  # text keeps its size; the page scrolls
    totals = [0] * len(names)
    for (row, _), count in counts.items():
        totals[row] += count
    for n, name in enumerate(names):
        place = side * n + side / 2
        add(svg, "text", shorten(name, 4), x=left + place, y=top - 7, text_anchor="middle")
        add(svg, "text", shorten(name, 4), x=left - 7, y=top + place + 4.5, text_anchor="end")
    for n in range(len(names) + 1):
        at = side * n
        add(svg, "line", class_="grid", x1=left, x2=size[0] - 8, y1=top + at, y2=top + at)
        add(svg, "line", class_="grid", x1=left + at, x2=left + at, y1=top, y2=size[1] - 8)
    for (row, column), count in sorted(counts.items()):
        x, y = left + side * column, top + side * row
        group = add(svg, "g")
        add(group, "title", f"{names[row]} read as {names[column]}: {count}")
        opacity = f"{0.08 + 0.37 * count / max(totals[row], 1):.3f}"
        square = add(group, "rect", class_="cell", x=x, y=y, width=side, height=side)
        square.set("fill-opacity", opacity)
        add(group, "text", str(count), x=x + side / 2, y=y + 16, text_anchor="middle")
    add(svg, "text", "read as", class_="axis", x=left + side * len(names) / 2, y=16,
        text_anchor="middle")  # fmt: skip
    turned = f"translate(14 {top + side * len(names) / 2:.1f}) rotate(-90)"
    add(svg, "text", "truth", class_="axis", transform=turned, text_anchor="middle")
    return markup(svg)


def _limits(rows: Sequence[Interval], reference: float | None) -> tuple[float, float, bool]:
    """The ends of the axis of a forest plot, and whether all intervals are inside."""
    own = [] if reference is None else [reference]
    ends = own + [v for row in rows for v in (row.low, row.value, row.high)]
    low, high = min(ends), max(ends)
    median = statistics.median(row.value for row in rows)
    upper = own + [v for row in rows if row.value >= median for v in (row.low, row.high)]
    focus = 2 * min(upper) - high  # as far below the better half as its own range
    if high - low <= _MOST_RATIO * (high - focus):
        focus = low
    room = 0.04 * (high - focus) or 1.0
    return focus - room, high + room, focus == low


def _style(number: int) -> str:
    """Classes of color and dash pattern. With the marker, 16 lines differ even without color."""
    return f"c{number % 8} d{number % 4}"


def _marker(number: int, x: float, y: float) -> str:
    """A circle, square, triangle or diamond around a point."""
    kind = (number + number // 4) % 4
    if kind == 0:
        return f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z"
    corners = ["", "-4 -4h8v8h-8z", "0 -5l5 9h-10z", "0 -5.5l5 5.5l-5 5.5l-5 -5.5z"][kind]
    return f"M{x:.1f} {y:.1f}m{corners}"
