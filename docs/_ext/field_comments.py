"""Documents the fields of dataclasses and named tuples by the comments beside them.

    images: jax.Array  # u8 [N, W, H, C]

A comment after a field describes it. If there is none, the comment lines before it do.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx


class Field(NamedTuple):
    """A declared field."""

    name: str
    kind: str  # its type, as in the source
    meaning: str  # from the comments; can be empty


# How Sphinx 9 writes a name of autodoc_type_aliases inside another type.
_ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
_MODULE = re.compile(r"\b(?:\w+\.)+(?=Array\b)")  # before the name of a JAX array


def has_fields(value: Any) -> bool:
    """Whether a value is a dataclass or a named tuple."""
    is_tuple = isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
    return is_tuple or (isinstance(value, type) and dataclasses.is_dataclass(value))


def fields(source: str) -> Iterator[Field]:
    """Yields the public fields in the source of a class, in order."""
    lines = textwrap.dedent(source).splitlines()
    (declared,) = ast.parse("\n".join(lines)).body
    assert isinstance(declared, ast.ClassDef)
    for item in declared.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if item.target.id.startswith("_"):
            continue
        end = item.end_lineno or item.lineno
        after = lines[end - 1].encode()[item.end_col_offset or 0 :].decode()
        first = item.lineno - 1
        while lines[first - 1].strip().startswith("#"):
            first -= 1
        comments = [after] if after.strip() else lines[first : item.lineno - 1]
        meaning = " ".join(comment.strip().lstrip("#").strip() for comment in comments)
        yield Field(item.target.id, _type(item.annotation), meaning)


def _type(annotation: ast.expr) -> str:
    """Returns the source of a type, without what `Annotated` adds."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        return _type(annotation.slice.elts[0])
    return ast.unparse(annotation).removeprefix("schema.")


def add_fields(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Adds the section `Attributes` to the docstring of a class that has none."""
    if what != "class" or not has_fields(obj) or "Attributes:" in lines:
        return
    if lines and lines[0].startswith(f"{obj.__name__}("):  # made by dataclasses or namedtuple
        lines.clear()
    found = list(fields(inspect.getsource(obj)))
    if not found:
        return
    lines += ["", "Attributes:"]
    lines += [f"  {field.name} ({field.kind}): {field.meaning}".rstrip() for field in found]
    lines.append("")


def change_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, result: str
) -> tuple[str, str] | None:
    """Hides the constructors of classes whose fields are listed, and names aliases of types."""
    if has_fields(obj) or name == "crnn_jax.Recognizer":
        return "", ""
    if not signature:
        return None
    return short(signature), short(result or "")


def short(signature: str) -> str:
    """Removes what readers of a type do not need."""
    return _MODULE.sub("", _ALIAS.sub(r"\1", signature))


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out the members that every named tuple has."""
    text = inspect.getdoc(obj) or ""
    return True if text.startswith(("Alias for field number", "Create new instance of")) else None


def improve_fields(app: Sphinx, doctree: nodes.document) -> None:
    """Writes dashes for the two hyphens of Sphinx, and attributes for its variables."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))
        elif text == "Variables" and isinstance(text.parent, nodes.field_name):
            text.parent.replace(text, nodes.Text("Attributes"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension. Sphinx calls this."""
    # Before napoleon, at priority 500, converts the section.
    app.connect("autodoc-process-docstring", add_fields, priority=400)
    app.connect("autodoc-process-signature", change_signature)
    app.connect("doctree-read", improve_fields)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
