"""Escape untrusted text for Markdown."""

from __future__ import annotations

import html
import re
import unicodedata

_MOST = 300  # characters of a value in a sentence or a table cell
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# An underscore between letters or digits does not start emphasis and is not escaped.
_SPECIAL = re.compile(r"[\\`*\[\]{}|~#!^$]|(?<![^\W_])_|_(?![^\W_])")
# GitHub turns bare addresses into links, and @names into mentions.
_ADDRESS = re.compile(r":(?=//)|@|(?<=www)\.|(?<=mailto):|(?<=xmpp):", re.IGNORECASE)
_FIRST = re.compile(r"\A(\d*)([-+=.):])")  # markers of a list or a heading


def markdown(text: str, most: int = _MOST) -> str:
    """Escapes `text` so that Markdown renders it literally, on one line.

    Emphasis, code, links, images, HTML, entities, lists, headings, table cells, mentions and bare
    addresses lose their meaning. Control and invisible characters become escape sequences. Do not
    put the result in a code span, where Markdown has no escapes.

    Args:
      text: any text, from a file or a server.
      most: the maximum length of `text`; longer text is cut and ends in "...".
    """
    if len(text) > most:
        text = text[: most - 3] + "..."
    visible = "".join(
        repr(c)[1:-1] if unicodedata.category(c) in _INVISIBLE else c for c in text
    ).strip()
    escaped = html.escape(_SPECIAL.sub(r"\\\g<0>", visible), quote=False)
    escaped = _ADDRESS.sub(lambda found: f"&#{ord(found[0])};", escaped)
    return _FIRST.sub(r"\1\\\2", escaped)
