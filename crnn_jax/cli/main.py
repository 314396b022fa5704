"""Trains, evaluates and exports a CRNN that reads text captchas."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any, NoReturn

from crnn_jax import errors, interop, runtime
from crnn_jax.cli import (
    analysis,
    argument_types,
    completion,
    data,
    examples,
    keys,
    label,
    predict,
    reader_options,
    serve,
    train,
)
from crnn_jax.runtime import terminal


def parser() -> tuple[argparse.ArgumentParser, Any]:
    """Returns the parser of the command line, and its subparsers: one for each command."""
    result = argparse.ArgumentParser(prog=examples.PROGRAM, description=__doc__)
    commands = result.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("evaluate", help="score a run on a data set")
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
    command.add_argument(
        "--data",
        metavar="DIR",
        help="a folder of labeled images to score; default the run's validation part",
    )
    command.add_argument("--format", choices=("text", "json"), default="text")
    reader_options.add_to(command)
    command.set_defaults(call=evaluate)

    predict.add_to(commands)
    serve.add_to(commands)
    analysis.add_to(commands)
    data.add_to(commands)
    keys.add_to(commands)
    train.add_to(commands)
    label.add_to(commands)
    interop.add_commands(commands)
    examples.add_to(commands.choices)
    completion.add_to(result)
    return result, commands


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, by default that of `sys.argv`, and returns the exit status."""
    command_line, commands = parser()
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    options = command_line.parse_args(predict.as_paths(given, commands.choices))
    runtime.configure()
    return terminal.conclude(lambda: options.call(options), failure=2)


def evaluate(options: argparse.Namespace) -> int:
    """Runs the command evaluate."""
    from crnn_jax.inference import metrics, recognizer, set_evaluation
    from crnn_jax.models import crnn
    from crnn_jax.runs import run_dir

    terminal.need_output()

    reader = recognizer.load(options.run, options.epoch)
    for line in set_evaluation.remarks(reader, options.data) if options.data else ():
        print(f"warning: {line}", file=sys.stderr)
    if options.same_scheme and not options.data:
        raise errors.ConfigError("--same-scheme needs a folder of images; name it with --data")
    decoder = reader_options.decoder(
        reader, options, lambda: set_evaluation.sources_of(reader, options.data)
    )
    evaluation, data_name, fingerprint, trained_on = reader.evaluate(options.data, decoder)
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
            "best_epoch": result.best_epoch if result else reader.epoch,
            "epoch": reader.epoch,  # of the weights that were scored
            "params_sha256": crnn.params_sha256(reader.params),
            "typicality": list(reader.typical) if reader.typical else None,
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


def program() -> NoReturn:
    """The console script `crnn-jax`."""
    terminal.leave(main())
