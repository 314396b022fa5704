"""The options of commands that read images with a run: its weights and the decoder."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import charset, errors
from crnn_jax.cli import argument_types
from crnn_jax.config.data_keys import FRAMES
from crnn_jax.errors import ConfigError

if TYPE_CHECKING:  # the commands that need jax import it
    from crnn_jax.inference.recognizer import Recognizer
    from crnn_jax.models.decoding import Decoder


def add_to(command: argparse.ArgumentParser) -> None:
    """Adds the options that choose the weights and the decoder of a reader."""
    command.set_defaults(computes=True)  # for `runtime.configure`
    command.add_argument(
        "--epoch",
        metavar="N",
        type=argument_types.positive_integer,
        help="use the checkpoint of this epoch; default the best",
    )
    command.add_argument(
        "--beam",
        metavar="WIDTH",
        type=argument_types.positive_integer,
        default=0,
        help="decode with a prefix beam search of this width",
    )
    command.add_argument(
        "--length",
        metavar="N|MIN-MAX",
        type=argument_types.length,
        help="read the best text with this number of characters; default data.length of the run",
    )
    command.add_argument(
        "--allowed",
        metavar="SYMBOLS",
        action="append",
        help="symbols that a text can contain; give the option once per position if the positions "
        "have different symbols",
    )
    command.add_argument(
        "--case",
        choices=charset.CASES,
        default="keep",
        help="lower or upper: convert letters to this case, if the model reads both cases",
    )
    command.add_argument(
        "--merge",
        metavar="GROUPS",
        default="",
        help="groups of look-alikes that are read as the first of the group, such as 0O,1Il",
    )
    command.add_argument(
        "--same-scheme",
        action="store_true",
        help="the images (ten or more) are of one scheme: find lengths and symbols of its texts in "
        "them, and read texts of this form",
    )


def decoder(
    reader: Recognizer, options: argparse.Namespace, paths: Callable[[], Iterable[str]]
) -> Decoder:
    """Returns the decoder that the options describe. Prints its warnings as notes.

    Args:
      reader: the reader.
      options: the options that were given.
      paths: returns the images that will be read, for --same-scheme.

    Raises:
      ConfigError: the options are invalid.
    """
    shared: dict[str, Any] = {
        "length": options.length,
        "case": options.case,
        "merge": options.merge,
    }
    if options.same_scheme:
        if options.beam or options.allowed is not None:
            raise ConfigError("--same-scheme cannot be combined with --beam or --allowed")
        with _noting():
            reader.decoder(**shared)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`merge`")  # printed above
            found = reader.form_of(paths(), **shared, frame=getattr(options, "frame", None))
        print(f"note: {_form(found, reader.charset.symbols)}", file=sys.stderr)
        return found
    allowed = options.allowed
    if allowed is not None and len(allowed) == 1:
        (allowed,) = allowed
    with _noting():
        return reader.decoder(beam=options.beam, allowed=allowed, **shared)


@contextlib.contextmanager
def _noting() -> Iterator[None]:
    """Prints warnings as notes."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        yield
    for note in notes:
        print(f"note: {errors.for_terminal(note.message)}", file=sys.stderr)


def _form(decoder: Decoder, symbols: Sequence[str]) -> str:
    """Describes the form of the texts that a decoder reads."""
    few, many = decoder.shortest, decoder.longest
    span = str(few) if few == many else f"{few} to {many}"
    found = [s for s, is_allowed in zip(symbols, decoder.allowed[0], strict=True) if is_allowed]
    return f"the texts have {span} characters of {errors.one_line(''.join(found))}"


def add_frame_to(command: argparse.ArgumentParser) -> None:
    """Adds the option that chooses what to read from animations."""
    command.add_argument(
        "--frame",
        choices=FRAMES,
        help="what to read from animations: a frame, or the darkest or mean value of each pixel; "
        "default the run's data.frame",
    )


def add_min_confidence_to(command: argparse.ArgumentParser) -> None:
    """Adds the option that leaves uncertain texts blank."""
    command.add_argument(
        "--min-confidence",
        metavar="SHARE",
        type=argument_types.share,
        help="leave the text of an image blank if the confidence is lower, or if the image is not "
        "like the validation images; without this option, all texts are shown",
    )
