"""Self-contained HTML pages from the templates of this package, with their style and script inline.

A page cannot connect to anything and runs no other script: its content security policy names the
digest of the script.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from crnn_jax.analysis import charts
from crnn_jax.errors import one_line
from crnn_jax.runs.run_dir import png

_TEMPLATES = Path(__file__).parent / "templates"


class Link(NamedTuple):
    """A relative link."""

    text: str
    href: str  # percent-encoded


class Cell(NamedTuple):
    """A cell of a table."""

    text: str = ""
    value: float | None = None  # sorts the column; None: the text does
    links: Sequence[Link] = ()


class Table(NamedTuple):
    """A table that the reader of the page can sort."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str | int]]


class Figure(NamedTuple):
    """A chart with its caption."""

    svg: Markup
    caption: str
    names: Sequence[str] = ()  # names of the lines, for a legend


def render(template: str, **values: Any) -> str:
    """Returns the page that the template makes of the values. It can be encoded as UTF-8.

    Surrogates, which stand for the bytes of file names that are not UTF-8, become question marks.
    """
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = _environment().get_template(template)
    text = page.render(
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        sample=charts.sample,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    return text.encode(errors="replace").decode() + "\n"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,  # names, labels and records are untrusted text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": png, "data_url": _data_url, "one_line": one_line}
    return environment


def _data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
