"""Trains, evaluates and exports a CRNN that reads text captchas."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from crnn_jax import charset, errors, interop, runtime
from crnn_jax.cli import analysis, argument_types, data, keys, train
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import terminal

if TYPE_CHECKING:  # the commands that need jax import it
    from crnn_jax.inference.recognizer import Recognizer
    from crnn_jax.models.decoding import Decoder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m crnn_jax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("evaluate", help="score a run on a data set")
    command.add_argument("run", metavar="RUN", help="a run directory")
    command.add_argument(
        "--data",
        metavar="DIR",
        help="a folder of labeled images to score; default the run's validation part",
    )
    command.add_argument("--format", choices=("text", "json"), default="text")
    _add_reader(command)
    command.set_defaults(call=evaluate)

    command = commands.add_parser("predict", help="read images")
    command.add_argument("run", metavar="RUN", help="a run directory")
    command.add_argument(
        "paths", metavar="PATH", nargs="+", help="files, folders, or - for a list on stdin"
    )
    command.add_argument("--format", choices=("text", "json", "csv"), default="text")
    _add_reader(command)
    command.add_argument(
        "--explain",
        action="store_true",
        help="with --format json: add position and probability of characters, and the best texts",
    )
    command.add_argument(
        "--min-confidence",
        metavar="SHARE",
        type=argument_types.share,
        help="if the confidence is lower, leave the text blank and flag it",
    )
    command.set_defaults(call=predict)

    analysis.add_to(commands)
    data.add_to(commands)
    keys.add_to(commands)
    train.add_to(commands)
    interop.add_commands(commands)
    terminal.prepare()
    options = parser.parse_args(arguments)
    runtime.configure()
    return terminal.conclude(lambda: options.call(options), failure=2)


def _add_reader(command: argparse.ArgumentParser) -> None:
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
        help="lower or upper: convert letters to this case, if the model reads both cases",
    )
    command.add_argument(
        "--merge",
        metavar="GROUPS",
        default="",
        help="groups of look-alikes that are read as the first of the group, such as 0O,1Il",
    )


def _decoder(reader: Recognizer, options: argparse.Namespace) -> Decoder:
    allowed = options.allowed
    if allowed is not None and len(allowed) == 1:
        (allowed,) = allowed
    return reader.decoder(
        beam=options.beam,
        length=options.length,
        allowed=allowed,
        case=options.case,
        merge=options.merge,
    )


def evaluate(options: argparse.Namespace) -> int:
    from crnn_jax.inference import metrics, recognizer, set_evaluation
    from crnn_jax.runs import run_dir

    terminal.need_output()

    reader = recognizer.load(options.run, options.epoch)
    for line in set_evaluation.remarks(reader, options.data) if options.data else ():
        print(f"warning: {line}", file=sys.stderr)
    evaluation, data_name, fingerprint, trained_on = reader.evaluate(
        options.data, _decoder(reader, options)
    )
    if trained_on > 0:
        print(
            f"note: the run was trained on {trained_on} of these "
            f"{evaluation.scores.num_examples} images; without --data, only the others are scored",
            file=sys.stderr,
        )
    matches = evaluation.exact_matches
    if options.format == "json":
        result = run_dir.RunDir(options.run).result()
        values = {
            **(dataclasses.asdict(result) if result else {}),  # from training: seed, epochs, ...
            **evaluation.summary(),
            **matches.shares(),
            "best_epoch": reader.epoch,
            "seed": reader.config.seed,
            "data_name": data_name,
            "fingerprint": fingerprint,
            "num_trained_on": trained_on if trained_on >= 0 else None,
            "temperature": reader.temperature,
            "coverage": {str(a): evaluation.coverage(a)._asdict() for a in metrics.ACCURACIES},
            "misreads": [misread._asdict() for misread in evaluation.misreads],
        }
        print(json.dumps(values, indent=2))
        return 0
    print(f"{errors.one_line(data_name)} (fingerprint {fingerprint[:12]}): {evaluation}")
    if matches.differ:
        print(matches)
    print(
        f"confidence: calibration error {evaluation.calibration_error:.2%} at temperature "
        f"{reader.temperature:.2f}"
    )
    for accuracy in metrics.ACCURACIES:
        print(f"  for an accuracy of {accuracy:.1%}: {evaluation.coverage(accuracy)}")
    for misread in evaluation.misreads:
        print(
            f"  {errors.one_line(misread.file)}: {errors.one_line(misread.truth)} read as "
            f"{errors.one_line(misread.reading) or 'nothing'}, confidence {misread.confidence:.4f}"
        )
    return 0


def predict(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from crnn_jax.cli import listing
    from crnn_jax.errors import DataError
    from crnn_jax.inference import recognizer

    terminal.need_output()

    # Pillow warns about unusual files; the limits of this package are lower than Pillow's.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    if options.explain and options.format != "json":
        raise ConfigError("--explain needs --format json")
    reader = recognizer.load(options.run, options.epoch)
    decoder = _decoder(reader, options)
    failed = False

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal failed
        paths: list[str] = []  # passed to the reader and not answered yet

        def remember() -> Iterator[str]:
            for path in listing.expand(options.paths):
                paths.append(path)
                yield path

        for reading in tqdm(
            reader.stream(remember(), decoder, options.explain),
            unit=" files",
            # The bar must not mix with readings on a terminal, nor fill a log.
            disable=sys.stdout.isatty() or not sys.stderr.isatty(),
        ):
            path = paths.pop(0) if paths else "the list of paths"
            if isinstance(reading, DataError):
                failed = True
                print(
                    f"error: {errors.one_line(path)}: {errors.for_terminal(reading)}",
                    file=sys.stderr,
                )
                continue
            row = {"path": path, **reading._asdict()}
            if options.min_confidence is not None:
                row["answered"] = reading.confidence >= options.min_confidence
                row["text"] = reading.text if row["answered"] else ""
            if options.explain:
                for name in ("characters", "alternatives"):
                    parts = getattr(reading, name) if row.get("answered", True) else []
                    row[name] = [part._asdict() for part in parts]
            yield row

    columns = ["path", "text", "confidence"]
    if options.min_confidence is not None:
        columns.append("answered")
    listing.PRINTERS[options.format](rows(), columns)
    return 1 if failed else 0


def program() -> NoReturn:
    """The console script `crnn-jax`."""
    terminal.leave(main())
