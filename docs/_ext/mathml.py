"""Renders formulas as MathML, which browsers display by themselves, without MathJax."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)


def to_mathml(code: str, is_block: bool = False) -> str:
    """Converts LaTeX code to a MathML element. MathError: a command is unknown."""
    return str(latex2mathml.tex2mathml(code, as_block=is_block))


def visit(translator: Any, node: nodes.Element) -> None:
    """Writes an inline formula or a displayed one, with its number."""
    is_block = isinstance(node, nodes.math_block)
    tag = "div" if is_block else "span"
    translator.body.append(translator.starttag(node, tag, "", CLASS="math notranslate nohighlight"))
    if number := node.get("number"):
        translator.body.append(f'<span class="eqno">({number})</span>')
    try:
        translator.body.append(to_mathml(node.astext(), is_block))
    except MathError as error:
        _LOGGER.warning("a formula cannot be rendered: %s", error, location=node)
    translator.body.append(f"</{tag}>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the renderer. Sphinx calls this."""
    app.add_html_math_renderer("mathml", (visit, None), (visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
