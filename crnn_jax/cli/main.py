"""Trains, evaluates and exports a CRNN that reads text captchas."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import NoReturn

from crnn_jax import errors, interop, runtime
from crnn_jax.cli import data, keys, predict, reader_options, train
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import terminal


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m crnn_jax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("evaluate", help="score a run on a data set")
    command.add_argument("run", metavar="RUN", help="a run directory")
    command.add_argument(
        "--data",
        metavar="DIR",
        help="a labeled folder, all of which is read; default the run's validation part",
    )
    command.add_argument("--format", choices=("text", "json"), default="text")
    reader_options.add_to(command)
    command.set_defaults(call=evaluate)

    predict.add_to(commands)

    command = commands.add_parser(
        "report", help="write tables and plots of a sweep, or a page of one run"
    )
    command.add_argument(
        "workdir", metavar="WORKDIR", help="a run directory, or the directory of a sweep"
    )
    command.add_argument(
        "--reach",
        metavar="SHARE",
        type=reader_options.share,
        default=0.95,
        help="exact match whose first epoch is reported; default 0.95",
    )
    command.add_argument(
        "--data", metavar="DIR", help="for one run: a labeled folder instead of the validation part"
    )
    command.set_defaults(call=report)

    command = commands.add_parser(
        "audit", help="find wrong labels: rank the labels of a data set by their loss"
    )
    command.add_argument("workdir", metavar="WORKDIR", help="the directory of a cross-validation")
    command.add_argument("--data", metavar="DIR", help="the data set, if it was moved")
    command.add_argument(
        "--top", metavar="N", type=data.positive, default=40, help="images on the sheet; default 40"
    )
    command.set_defaults(call=audit)

    data.add_to(commands)
    keys.add_to(commands)
    train.add_to(commands)
    interop.add_commands(commands)
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(predict.as_paths(given, commands.choices))
    runtime.configure()
    return terminal.conclude(lambda: options.call(options), failure=2)


def evaluate(options: argparse.Namespace) -> int:
    from crnn_jax.inference import metrics, recognizer
    from crnn_jax.runs import run_dir

    terminal.need_output()

    reader = recognizer.load(options.run, options.epoch)
    evaluation, data_name, fingerprint, trained_on = reader.evaluate(
        options.data, reader_options.decoder(reader, options)
    )
    if trained_on > 0:
        print(
            f"note: the run was trained on {trained_on} of these "
            f"{evaluation.scores.num_examples} images; without --data only the others are scored",
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
        print(f"  for {accuracy:.1%} right: {evaluation.coverage(accuracy)}")
    for misread in evaluation.misreads:
        print(
            f"  {errors.one_line(misread.file)}: {errors.one_line(misread.truth)} read as "
            f"{errors.one_line(misread.reading) or 'nothing'}, confidence {misread.confidence:.4f}"
        )
    return 0


def report(options: argparse.Namespace) -> int:
    from crnn_jax.analysis import plots, scheme_report, sweep_report
    from crnn_jax.runs import run_dir

    if (Path(options.workdir) / "config.json").exists():
        from crnn_jax.analysis import html_report

        print(f"wrote {html_report.write(options.workdir, options.data)} and its plots")
        return 0
    if options.data:
        raise ConfigError("--data is for the report of one run")
    if scheme_report.is_scheme_sweep(options.workdir):
        print(scheme_report.write(options.workdir), end="", flush=True)
        return 0
    runs = sweep_report.read_grid(options.workdir, options.reach)
    rows = sweep_report.table(runs)
    directory = run_dir.RunDir(options.workdir)
    markdown = sweep_report.to_markdown(runs, rows, options.reach)
    markdown += sweep_report.images(directory.workdir)
    directory.write_text("report.md", markdown)
    directory.write_text("report.csv", sweep_report.to_csv(rows))
    print(markdown, end="", flush=True)
    directory.write_bytes("report.png", plots.variants(rows))
    if sweep_report.has_sizes(runs):
        directory.write_bytes("report_sizes.png", plots.sizes(rows))
    return 0


def audit(options: argparse.Namespace) -> int:
    from crnn_jax.analysis import label_audit
    from crnn_jax.runs import run_dir

    doubts = label_audit.rank(options.workdir)
    directory = run_dir.RunDir(options.workdir)
    directory.write_csv("audit.csv", label_audit.Doubt._fields, doubts)
    for doubt in doubts[: options.top]:
        if doubt.disagree:
            print(errors.one_line(f"{doubt.file}: {doubt}"))
    folder = options.data or label_audit.data_folder(options.workdir)
    directory.write_image("audit.png", label_audit.contact_sheet(doubts[: options.top], folder))
    print(f"wrote audit.csv ({len(doubts)} images) and audit.png to {directory.workdir}")
    return 0


def program() -> NoReturn:
    """The console script `crnn-jax`."""
    terminal.leave(main())
