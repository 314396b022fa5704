"""The command predict, and paths that begin with a minus."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crnn_jax import errors
from crnn_jax.cli import argument_types, reader_options
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import terminal

if TYPE_CHECKING:  # the command imports jax when it is called
    from crnn_jax.inference.recognizer import Recognizer
    from crnn_jax.models.decoding import Decoder


def add_to(commands: Any) -> None:
    """Adds the command to the subparsers of `crnn-jax`."""
    command = commands.add_parser("predict", help="read images")
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
    command.add_argument(
        "paths", metavar="PATH", nargs="+", help="files, folders, or - for a list on stdin"
    )
    command.add_argument(
        "--format",
        choices=("text", "json", "csv"),
        default="text",
        help="output format; default text",
    )
    reader_options.add_to(command)
    command.add_argument(
        "--explain",
        action="store_true",
        help="with --format json: position and probability of each character, and the best texts",
    )
    reader_options.add_frame_to(command)
    reader_options.add_min_confidence_to(command)
    command.set_defaults(call=predict)


def as_paths(arguments: list[str], commands: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """Writes ./ before names of existing files that begin with a minus and are not options."""
    options = {name for command in commands.values() for name in command._option_string_actions}

    def is_path(argument: str) -> bool:
        name = argument.split("=")[0]
        is_option = any(option.startswith(name) for option in options) or name == "--"
        return argument[0] == "-" and not is_option and os.path.lexists(argument)

    return [f".{os.sep}{a}" if a and is_path(a) else a for a in arguments]


def predict(options: argparse.Namespace) -> int:
    """Reads images, and prints a row for each. Returns 1 if some cannot be read."""
    from crnn_jax.cli import listing
    from crnn_jax.errors import DataError
    from crnn_jax.inference import recognizer

    terminal.need_output()
    if "-" in options.paths:
        terminal.need_input()

    # Pillow warns about unusual files; the limits of this package are lower than Pillow's.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    if options.explain and options.format != "json":
        raise ConfigError("--explain needs --format json")
    reader = recognizer.load(options.run, options.epoch)
    if options.same_scheme:  # the images are read more than once
        options.paths = list(listing.expand(options.paths))
    decoder = reader_options.decoder(reader, options, lambda: options.paths)
    failed = False

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal failed
        for path, reading in _with_progress(_readings(reader, decoder, options)):
            if isinstance(reading, DataError):
                failed = True
                line = f"error: {errors.one_line(path)}: {listing.reason(path, reading)}"
                print(line, file=sys.stderr)
            else:
                yield _row(path, reading, options)

    listing.PRINTERS[options.format](rows(), ["path", "text", "confidence", "answered"])
    return 1 if failed else 0


def _readings(
    reader: Recognizer, decoder: Decoder, options: argparse.Namespace
) -> Iterator[tuple[str, Any]]:
    """Yields each path with its reading, or with the DataError that says why there is none."""
    from crnn_jax.cli import listing

    paths: list[str] = []  # passed to the reader and not answered yet

    def remember(part: Iterator[str]) -> Iterator[str]:
        for path in part:
            paths.append(path)
            yield path

    for part in listing.arrivals(options.paths):
        found = reader.stream(remember(part), decoder, options.explain, frame=options.frame)
        for reading in found:
            yield paths.pop(0) if paths else "the list of paths", reading


def _with_progress(readings: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Shows a progress bar, but not among readings on a terminal, or in a log file."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        return readings
    from tqdm import tqdm

    return iter(tqdm(readings, unit=" files"))


def _row(path: str, reading: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what is printed of a Reading or an Explanation."""
    from crnn_jax.inference import evaluate

    answered, is_shown = evaluate.apply_min_confidence(reading, options.min_confidence)
    row = {
        "path": path,
        "text": reading.text if is_shown else "",
        "confidence": reading.confidence,
        "typicality": reading.typicality,
        "answered": answered,
    }
    if options.explain:
        for name in ("characters", "alternatives"):
            parts = getattr(reading, name) if is_shown else []
            row[name] = [part._asdict() for part in parts]
    return row
