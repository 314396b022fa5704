"""Checks which texts can be labels."""

from __future__ import annotations

import reprlib
import unicodedata

from crnn_jax import clusters
from crnn_jax.charset import Charset, required_steps
from crnn_jax.errors import quote


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
        return f"its label {shown} has line breaks or control characters ({control[0]!a})"
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
        what = reprlib.repr(text)
        return f"its label {what} has line breaks or control characters ({control[0]!a})"
    if text != text.strip():
        return f"its label {reprlib.repr(text)} begins or ends with white space"
    return ""


def _controls(text: str) -> str:
    """Returns the control characters in `text`, with line breaks and unpaired surrogates."""
    return "".join(c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp"))
