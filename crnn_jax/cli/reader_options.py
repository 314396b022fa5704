"""The options of commands that read images with a run: its weights and the decoder."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from crnn_jax import charset, errors
from crnn_jax.cli import data

if TYPE_CHECKING:  # the commands that need jax import it
    from crnn_jax.inference.recognizer import Recognizer
    from crnn_jax.models.decoding import Decoder


def add_to(command: argparse.ArgumentParser) -> None:
    """Adds the options that choose the weights and the decoder of a reader."""
    command.add_argument(
        "--epoch",
        metavar="N",
        type=data.positive,
        help="the weights of another epoch that the run keeps; default the best",
    )
    command.add_argument(
        "--beam",
        metavar="WIDTH",
        type=data.positive,
        default=0,
        help="decode with a prefix beam search of this width",
    )
    command.add_argument(
        "--length",
        metavar="N|MIN-MAX",
        type=_length,
        help="read the best text with this number of characters",
    )
    command.add_argument(
        "--allowed",
        metavar="SYMBOLS",
        action="append",
        help="symbols that a text can contain; repeat it to give those of each position in turn",
    )
    command.add_argument(
        "--case",
        choices=charset.CASES,
        default="keep",
        help="lower or upper: read letters of the other case as this one, if the run knows both",
    )
    command.add_argument(
        "--merge",
        metavar="GROUPS",
        default="",
        help="look-alikes that are read as the first of their group, such as 0O,1Il",
    )


def decoder(reader: Recognizer, options: argparse.Namespace) -> Decoder:
    """Returns the decoder that the options describe. Prints its warnings as notes.

    Raises:
      ConfigError: the options are invalid.
    """
    allowed = options.allowed
    if allowed is not None and len(allowed) == 1:
        (allowed,) = allowed
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        result = reader.decoder(
            beam=options.beam,
            length=options.length,
            allowed=allowed,
            case=options.case,
            merge=options.merge,
        )
    for note in notes:
        print(f"note: {errors.for_terminal(note.message)}", file=sys.stderr)
    return result


def _length(text: str) -> int | tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 5 or 4-6, not {text!r}") from None


def share(text: str) -> float:
    """Parses an option above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value
