"""Types of command-line arguments, for argparse."""

from __future__ import annotations

import argparse

# What a command that reads images accepts as RUN: see `recognizer.load`.
RUN = "a run directory, general, a safetensors export, or hf://OWNER/NAME"


def positive_integer(text: str) -> int:
    """Parses a positive integer."""
    return _at_least(1, text)


def count(text: str) -> int:
    """Parses an integer of at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, not {text!r}")
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
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text!r}")
    return value
