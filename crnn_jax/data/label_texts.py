"""Checks which texts can be labels."""

from __future__ import annotations

import re
import reprlib
import unicodedata

from crnn_jax import clusters
from crnn_jax.charset import Charset, required_steps
from crnn_jax.errors import quote

UNREADABLE = "###"  # what ICDAR and PaddleOCR write for words that nobody can read
# Scripts in which a zero-width joiner or non-joiner changes the form of letters.
_JOINING = re.compile(
    "ARABIC|SYRIAC|NKO|MONGOLIAN|MANDAIC|DEVANAGARI|BENGALI|GURMUKHI|GUJARATI|ORIYA|TAMIL|TELUGU|"
    "KANNADA|MALAYALAM|SINHALA|TIBETAN|MYANMAR|KHMER|BALINESE|JAVANESE"
)
_JOINERS = "\u200c\u200d"
# Signs around numbers, and of hieroglyphs: visible, though their category is Cf.
_VISIBLE = re.compile(
    "[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001345f]"
)


def complaint(
    text: str, charset: Charset | None, num_steps: int, marks: str = "separate"
) -> str | None:
    """Says why `text` cannot be a label for a model with T = `num_steps`; None if it can."""
    shown = reprlib.repr(text)
    if not text:
        return "its label is empty"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "its name is not valid UTF-8"
    if control := _controls(text):
        return f"its label {shown} has {_name(control[0])}"
    if marks == clusters.JOINED and clusters.is_mark(text[0]):
        return (
            f"its label {shown} begins with a combining mark; with data.marks=joined, each mark "
            "follows its letter"
        )
    symbols = clusters.split(text, marks)
    if charset and (unknown := charset.unknown(text)):
        alphabet = quote(charset.alphabet)  # shortened: every bad label names it
        return f"its label {shown} has {reprlib.repr(unknown)}, not in the alphabet {alphabet}"
    if (steps := required_steps(symbols)) > num_steps:
        return (
            f"its label {shown} needs {steps} time steps (including a blank between "
            f"equal neighbors) and the model has {num_steps}; increase data.width"
        )
    return None


def in_table(text: str) -> str:
    """Says why the label of a row cannot be used; an empty string if it can."""
    if control := _controls(text):
        return f"its label {reprlib.repr(text)} has {_name(control[0])}"
    if text != text.strip():
        return f"its label {reprlib.repr(text)} begins or ends with white space; remove it"
    return ""


def _controls(text: str) -> str:
    """Returns the characters of a text that no image shows.

    These are control characters, line breaks, unpaired surrogates, and invisible characters (such
    as a zero-width space), except for joiners between letters that they change.
    """
    if text.isascii() and text.isprintable():
        return ""
    found = []
    for place, c in enumerate(text):
        kind = unicodedata.category(c)
        if kind == "Cf" and not _VISIBLE.match(c):
            around = text[max(place - 1, 0) : place + 2]
            # Behind a virama at the end of a word, a joiner shows a half letter or a chillu.
            is_half = c == "\u200d" and place > 0 and unicodedata.combining(text[place - 1]) == 9
            joins = c in _JOINERS and len(around) == 3 and _joins(around[0], around[2])
            if not is_half and not joins:
                found.append(c)
        elif kind in ("Cc", "Cs", "Zl", "Zp"):
            found.append(c)
    return "".join(found)


def _joins(before: str, after: str) -> bool:
    """Whether a joiner between two characters can be seen."""
    return all(
        unicodedata.category(c)[0] in "LM" and _JOINING.match(unicodedata.name(c, ""))
        for c in (before, after)
    )


def _name(c: str) -> str:
    """Names a character that no label can have, and says what to do."""
    if unicodedata.category(c) == "Cf":
        name = unicodedata.name(c, "no name")
        return f"an invisible character ({c!a}, {name}); remove it"
    remedy = "write the text in one line" if len(f"a{c}a".splitlines()) > 1 else "remove them"
    return f"line breaks or control characters ({c!a}); {remedy}"
