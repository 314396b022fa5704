"""The Markdown files of the repository: their links, anchors, prose and examples."""

from __future__ import annotations

import functools
import itertools
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyphen
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.front_matter import front_matter_plugin

ROOT = Path(__file__).resolve().parents[2]
_BUILT = ROOT / "docs" / "_build"
_FENCE = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ATTRIBUTE = re.compile(r"""<\w+[^>]*\s(href|src|id|name)=["']([^"']*)["']""")
_TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)  # of MyST
_WORD = re.compile(r"[A-Za-z][A-Za-z']*")
_VOWELS = re.compile(r"[aeiouy]+")
# Endings with a vowel that is not spoken, as in "made", "named" and "names".
_SILENT = re.compile(r"(?<![aeiouyl])e$|(?<=[aeiouy]l)e$|(?<![td])ed$|(?<![cgsxzh])es$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"']?\s+")


class Block(NamedTuple):
    """A fenced block."""

    kind: str
    note: str  # the rest of the first line
    body: str


def pages() -> list[Path]:
    """Returns the README and the pages of docs/, without the notebooks."""
    found = [path for path in sorted((ROOT / "docs").rglob("*.md")) if _is_source(path)]
    return [ROOT / "README.md", *(p for p in found if p.parent.name != "notebooks")]


def documents() -> list[Path]:
    """Returns all files whose links are checked."""
    folders = ("docs", "results", "crnn_jax")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))]
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *filter(_is_source, found)]


def _is_source(path: Path) -> bool:
    return not path.is_relative_to(_BUILT)


def blocks(page: Path) -> Iterator[Block]:
    """Yields the fenced blocks that have a language."""
    yield from (Block(*found) for found in _FENCE.findall(page.read_text()))


# ------------------------------------------------------------------------------ links


def links(text: str) -> list[str]:
    """Returns the targets of the links and images in a Markdown text."""
    found = []
    for token in _all_tokens(text):
        if token.type in ("link_open", "image"):
            found.append(str(token.attrs["href" if token.type == "link_open" else "src"]))
        elif token.type in ("html_inline", "html_block"):
            attributes = _ATTRIBUTE.findall(token.content)
            found += [value for name, value in attributes if name in ("href", "src")]
    return [urllib.parse.unquote(target) for target in found]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """Returns the names that a link can have after its #: those of headings, as GitHub has them."""
    text = page.read_text()
    found: list[str] = list(_TARGET.findall(text))
    for token in _all_tokens(text):
        if token.type in ("html_inline", "html_block"):
            attributes = _ATTRIBUTE.findall(token.content)
            found += [value for name, value in attributes if name in ("id", "name")]
    tokens = _parsed(text)
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            found.append(_unused(slug(_text(token)), found))
    return frozenset(found)


def slug(title: str) -> str:
    """Returns the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _unused(name: str, taken: list[str]) -> str:
    number = 0
    result = name
    while result in taken:
        number += 1
        result = f"{name}-{number}"
    return result


# ------------------------------------------------------------------------------ prose


def prose(text: str) -> list[str]:
    """Returns the paragraphs and list items of a Markdown text, without code.

    Headings, tables and directives are left out. Code in a sentence is replaced by a short word.
    """
    found, inside = [], []
    for token in _parsed(text):
        if token.nesting == 1:
            inside.append(token.type)
        elif token.nesting == -1:
            inside.pop()
        elif token.type == "inline" and not {"heading_open", "table_open"} & set(inside):
            found.append(_text(token, code="code"))
    return found


def reading_ease(paragraphs: list[str]) -> float:
    """Returns the Flesch reading ease of English text: 60 is plain, and higher is easier."""
    sentences = [s for text in paragraphs for s in _SENTENCE_END.split(text) if _WORD.search(s)]
    words = [word for sentence in sentences for word in _WORD.findall(sentence)]
    syllables = sum(map(_syllables, words))
    return 206.835 - 1.015 * len(words) / len(sentences) - 84.6 * syllables / len(words)


@functools.cache
def _syllables(word: str) -> int:
    """Counts the syllables of an English word.

    Hyphenation leaves out some, as in "many", and groups of vowels others, as in "create". Hence
    the larger of the two counts.
    """
    word = word.lower().removesuffix("'s")
    sounded = _SILENT.sub("", word) if len(word) > 3 else word
    groups = len(_VOWELS.findall(sounded))
    return max(len(_hyphenation().positions(word)) + 1, groups)


@functools.cache
def _hyphenation() -> pyphen.Pyphen:
    return pyphen.Pyphen(lang="en_US")


def _text(token: Token, code: str = "") -> str:
    parts = []
    for child in token.children or []:
        if child.type == "text":
            parts.append(child.content)
        elif child.type == "code_inline":
            parts.append(code or child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts)


# ------------------------------------------------------------------------------ parsing


def _parsed(text: str) -> list[Token]:
    parser = MarkdownIt("commonmark").enable("table").use(front_matter_plugin)
    return parser.parse(text)


def _all_tokens(text: str) -> Iterator[Token]:
    for token in _parsed(text):
        yield token
        yield from token.children or []
