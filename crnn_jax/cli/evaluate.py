"""The command evaluate."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from crnn_jax import errors
from crnn_jax.cli import argument_types, reader_options
from crnn_jax.runtime import terminal

if TYPE_CHECKING:  # the command imports jax when it is called
    from crnn_jax.inference.recognizer import Recognizer
    from crnn_jax.inference.set_evaluation import SetEvaluation


def add_to(commands: Any) -> None:
    """Adds the command to the subparsers of `crnn-jax`."""
    command = commands.add_parser("evaluate", help="score a run on a data set")
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
    command.add_argument(
        "--data",
        metavar="DIR",
        help="a folder of labeled images to score; default the run's validation part",
    )
    command.add_argument(
        "--format", choices=("text", "json"), default="text", help="output format; default text"
    )
    reader_options.add_to(command)
    reader_options.add_frame_to(command)
    command.set_defaults(call=evaluate)


def evaluate(options: argparse.Namespace) -> int:
    """Scores a reader, and prints the scores and the misread images."""
    from crnn_jax.inference import recognizer, set_evaluation

    terminal.need_output()

    reader = recognizer.load(options.run, options.epoch)
    for line in set_evaluation.remarks(reader, options.data) if options.data else ():
        print(f"warning: {line}", file=sys.stderr)
    if options.same_scheme and not options.data:
        raise errors.ConfigError("--same-scheme needs a folder of images; name it with --data")
    decoder = reader_options.decoder(
        reader, options, lambda: set_evaluation.sources_of(reader, options.data)
    )
    found = reader.evaluate(options.data, decoder, frame=options.frame)
    if found.num_trained_on > 0:
        print(
            f"note: the run was trained on {found.num_trained_on} of these "
            f"{found.evaluation.scores.num_examples} images; without --data, only the others are "
            "scored",
            file=sys.stderr,
        )
    if options.format == "json":
        print(json.dumps(_values(reader, found), indent=2))
    else:
        _print_scores(reader, found)
    return 0


def _values(reader: Recognizer, found: SetEvaluation) -> dict[str, Any]:
    """Returns the scores and where they are from, for --format json."""
    from crnn_jax.inference import metrics
    from crnn_jax.models import crnn

    evaluation, result = found.evaluation, reader.result
    return {
        **(dataclasses.asdict(result) if result else {}),  # from training: seed, epochs, ...
        **evaluation.summary(),
        **evaluation.exact_matches.shares(),
        "best_epoch": result.best_epoch if result else reader.epoch,
        "epoch": reader.epoch,  # of the weights that were scored
        "params_sha256": crnn.params_sha256(reader.params),
        "typicality": list(reader.typical) if reader.typical else None,
        "seed": reader.config.seed,
        "data_name": found.data_name,
        "fingerprint": found.fingerprint,
        "num_trained_on": found.num_trained_on if found.num_trained_on >= 0 else None,
        "temperature": reader.temperature,
        "coverage": {str(a): evaluation.coverage(a)._asdict() for a in metrics.ACCURACIES},
        "misreads": [misread._asdict() for misread in evaluation.misreads],
    }


def _print_scores(reader: Recognizer, found: SetEvaluation) -> None:
    from crnn_jax.inference import metrics

    evaluation, name = found.evaluation, errors.one_line(found.data_name)
    print(f"{name} (fingerprint {found.fingerprint[:12]}): {evaluation}")
    if evaluation.exact_matches.differ:
        print(evaluation.exact_matches)
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
