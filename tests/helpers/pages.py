"""The elements of an HTML page, for tests of reports."""

from __future__ import annotations

import html.parser
from dataclasses import dataclass, field

VOID = frozenset({"meta", "img", "br", "link", "input"})


@dataclass
class Element:
    """An element with its attributes. `text` is all text inside, in order."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str, name: str | None = None) -> list[Element]:
        """The elements of a tag inside this one, in order; with `name`, those of this class."""
        found: list[Element] = []
        for child in self.children:
            if child.tag == tag and (name is None or name in child.classes):
                found.append(child)
            found += child.all(tag, name)
        return found

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    def number(self, attribute: str) -> float:
        value = self.attributes[attribute]
        assert value is not None
        return float(value)


class _Parser(html.parser.HTMLParser):
    """Checks that every tag is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parse(text: str) -> Element:
    """The root of a page. AssertionError: a tag is not closed, or not in order."""
    parser = _Parser()
    parser.feed(text)
    (root,) = parser.open
    return root


def values_at(chart: Element, axis: str, places: list[float]) -> list[float]:
    """Reads values from a chart as a person does: between the first and the last labeled line.

    Args:
      chart: an <svg> with a linear axis.
      axis: 'x' or 'y'.
      places: positions in units of the SVG.
    """
    ticks = [tick for tick in chart.all("text", "tick") if axis in tick.classes]
    marks = sorted({(tick.number(axis), float(tick.text)) for tick in ticks})
    (start, low), (end, high) = marks[0], marks[-1]
    return [low + (place - start) / (end - start) * (high - low) for place in places]
