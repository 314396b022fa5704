"""The page that documents a server: one HTML file without scripts, which loads nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

# The page needs only its inline style and a form.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def page(document: Mapping[str, Any]) -> Response:
    """Returns the page of an OpenAPI document."""
    bodies = [
        content["schema"]
        for item in document["paths"].values()
        for operation in item.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    named = {schema["title"]: schema for schema in bodies if "title" in schema}
    text = _template().render(
        info=document["info"],
        endpoints=[
            (method.upper(), path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ],
        schemas={**named, **document["components"]["schemas"]},
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})


def type_name(schema: Mapping[str, Any]) -> str:
    """Describes the type of a value in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(map(type_name, schema["anyOf"]))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {type_name(schema['items'])}"
    kind = schema.get("type", "value")
    return str(schema.get("format") or (schema.get("title", kind) if kind == "object" else kind))


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["type_name"] = type_name
    return environment.get_template("docs.html.jinja")
