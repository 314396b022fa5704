"""Types of command-line arguments, for argparse."""

from __future__ import annotations

import argparse


def positive_integer(text: str) -> int:
    """Parses a positive integer."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def count(text: str) -> int:
    """Parses an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return value


def length(text: str) -> int | tuple[int, int]:
    """Parses a number of characters or a range: 5 or 4-6."""
    first, dash, last = text.partition("-")
    try:
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be like 5 or 4-6 (a number or a range), not {text!r}"
        ) from None


def share(text: str) -> float:
    """Parses a number above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value
