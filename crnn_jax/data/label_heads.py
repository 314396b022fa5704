"""The lines above the first row of a label file: comments, and the delimiter for Excel."""

from __future__ import annotations

import re

from crnn_jax.data.label_columns import FILES, LABELS, IsImage, normalized
from crnn_jax.errors import quote

_MOST = 10  # lines above which a header is looked for


def without_comments(text: str, is_image: IsImage) -> str:
    """Empties the lines above the first row that begin with `#`, unless they have an image.

    A header can begin with `#`, too, such as `#file,label`.
    """
    if not text.lstrip("\ufeff \t\r\n").startswith("#"):
        return text
    kept = text.splitlines(keepends=True)
    for place, line in enumerate(kept):
        fields = re.split(r"[\s,;|]+", line.strip("\ufeff \t\r\n"))
        columns = set(map(normalized, re.split(r"[,;|\t]", line)))
        is_header = columns & FILES and columns & LABELS
        is_comment = fields[0].startswith("#") and not any(map(is_image, filter(None, fields)))
        if any(fields) and (is_header or not is_comment):
            break
        kept[place] = "\n"
    return "".join(kept)


def header_below(text: str) -> str:
    """Says what to do if the header is below the first line; an empty string if it is not.

    Args:
      text: a table whose first line is no header, such as a title.
    """
    for line in text.splitlines()[1:_MOST]:
        columns = set(map(normalized, re.split(r"[,;|\t]", line)))
        if columns & FILES and columns & LABELS:
            return f"; remove the lines above the header {quote(line)}"
    return ""


def without_sep(text: str) -> tuple[str, int]:
    """Removes a first line that names the delimiter for Excel. Returns the number of such lines."""
    found = re.match(r"\ufeff?sep=(.)\r?\n", text)
    return (text[found.end() :], 1) if found else (text, 0)
