"""The commands that analyze finished runs: report, audit."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from crnn_jax import errors
from crnn_jax.cli import argument_types, reader_options, run_records
from crnn_jax.errors import ConfigError, RunError


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "report", help="write tables, plots and a page of a sweep, or a page of one run"
    )
    command.add_argument(
        "workdir",
        metavar="WORKDIR",
        help=f"a run directory, or the directory of a sweep{run_records.NOT_READERS}",
    )
    command.add_argument(
        "--reach",
        metavar="SHARE",
        type=argument_types.share,
        help="for a sweep: report the first epoch with this exact match; default 0.95",
    )
    command.add_argument(
        "--data", metavar="DIR", help="for one run: score this labeled folder instead"
    )
    reader_options.add_frame_to(command)
    command.set_defaults(call=report)

    command = commands.add_parser(
        "audit", help="find wrong labels: rank all labels of a data set by their loss"
    )
    command.add_argument(
        "workdir",
        metavar="WORKDIR",
        help=f"the directory of a cross-validation{run_records.NOT_READERS}",
    )
    command.add_argument("--data", metavar="DIR", help="the data set, if it was moved")
    command.add_argument(
        "--top",
        metavar="N",
        type=argument_types.positive_integer,
        default=40,
        help="how many of the labels with the largest loss to draw on the contact sheet; those "
        "that a model disagrees with are also printed; default 40",
    )
    command.set_defaults(call=audit)


def report(options: argparse.Namespace) -> int:
    """Writes the report of a run or a sweep, and prints its table or path."""
    from crnn_jax.analysis import scheme_report

    _check_exists(options.workdir)
    is_run = (Path(options.workdir) / "config.json").exists()
    is_of_schemes = not is_run and scheme_report.is_scheme_sweep(options.workdir)
    if (options.data or options.frame) and not is_run:
        option = "--data" if options.data else "--frame"
        raise ConfigError(f"{option} works only for the report of one run")
    if options.reach is not None and (is_run or is_of_schemes):
        raise ConfigError("--reach works only for the report of a sweep of variants")
    if is_run:
        from crnn_jax.analysis import html_report

        page = html_report.write(options.workdir, options.data, options.frame)
        print(f"wrote {page} and its plots")
    elif is_of_schemes:
        print(scheme_report.write(options.workdir), end="", flush=True)
    else:
        from crnn_jax.analysis import sweep_files

        reach = {} if options.reach is None else {"reach": options.reach}
        print(sweep_files.write(options.workdir, **reach), end="", flush=True)
    return 0


def _check_exists(workdir: str) -> None:
    run_records.check(workdir)
    if not Path(workdir).is_dir():
        raise RunError(f"there is no directory {workdir}; name that of a run or a sweep")


def audit(options: argparse.Namespace) -> int:
    """Writes audit.csv and the contact sheet, and prints the labels that models contradict."""
    from crnn_jax.analysis import label_audit
    from crnn_jax.data import folder
    from crnn_jax.runs import run_dir

    _check_exists(options.workdir)
    doubts = label_audit.rank(options.workdir)
    directory = run_dir.RunDir(options.workdir)
    directory.write_csv("audit.csv", label_audit.RankedLabel._fields, doubts)
    for doubt in doubts[: options.top]:
        if doubt.disagree:
            print(errors.one_line(f"{doubt.file}: {doubt}"))
    if hidden := sum(doubt.disagree > 0 for doubt in doubts[options.top :]):
        print(f"... and {hidden} more with smaller losses, in audit.csv; --top prints more")
    data = label_audit.data_of(options.workdir)
    if options.data is not None:
        data = dataclasses.replace(data, source="folder", dir=options.data, val_dir="")
    if not folder.uses_folder(data):
        print(
            f"wrote audit.csv ({len(doubts)} images) to {directory.workdir}; there is no "
            "audit.png, because the images are generated, so their labels are right"
        )
        return 0
    sheet = label_audit.contact_sheet(doubts[: options.top], data)
    directory.write_image("audit.png", sheet)
    print(f"wrote audit.csv ({len(doubts)} images) and audit.png to {directory.workdir}")
    return 0
