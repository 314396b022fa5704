"""Trains, evaluates and exports a CRNN that reads text captchas."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from crnn_jax import charset, errors, interop, runtime
from crnn_jax.cli import data, keys, train
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
        help="a labeled folder, all of which is read; default the run's validation part",
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
        help="with --format json: position and probability of each character, and the best texts",
    )
    command.add_argument(
        "--min-confidence",
        metavar="SHARE",
        type=_share,
        help="leave the text blank, and flag it, if the confidence is lower",
    )
    command.set_defaults(call=predict)

    command = commands.add_parser(
        "report", help="write tables and plots of a sweep, or a page of one run"
    )
    command.add_argument(
        "workdir", metavar="WORKDIR", help="a run directory, or the directory of a sweep"
    )
    command.add_argument(
        "--reach",
        metavar="SHARE",
        type=_share,
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
    options = parser.parse_args(arguments)
    runtime.configure()
    return terminal.conclude(lambda: options.call(options), failure=2)


def _add_reader(command: argparse.ArgumentParser) -> None:
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


def _length(text: str) -> int | tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 5 or 4-6, not {text!r}") from None


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value


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
    val_dir = label_audit.data_folder(options.workdir, "data.val_dir")
    sheet = label_audit.contact_sheet(doubts[: options.top], folder, val_dir)
    directory.write_image("audit.png", sheet)
    print(f"wrote audit.csv ({len(doubts)} images) and audit.png to {directory.workdir}")
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
