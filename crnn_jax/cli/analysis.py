"""The commands that analyze finished runs: report, audit."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from crnn_jax import errors
from crnn_jax.cli import argument_types
from crnn_jax.errors import ConfigError


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "report", help="write tables, plots and a page of a sweep, or a page of one run"
    )
    command.add_argument(
        "workdir", metavar="WORKDIR", help="a run directory, or the directory of a sweep"
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
    command.set_defaults(call=report)

    command = commands.add_parser(
        "audit", help="find wrong labels: rank all labels of a data set by their loss"
    )
    command.add_argument("workdir", metavar="WORKDIR", help="the directory of a cross-validation")
    command.add_argument("--data", metavar="DIR", help="the data set, if it was moved")
    command.add_argument(
        "--top",
        metavar="N",
        type=argument_types.positive_integer,
        default=40,
        help="images on the contact sheet; default 40",
    )
    command.set_defaults(call=audit)


def report(options: argparse.Namespace) -> int:
    """Runs the command report."""
    from crnn_jax.analysis import plots, scheme_report, sweep_page, sweep_report
    from crnn_jax.runs import run_dir

    if (Path(options.workdir) / "config.json").exists():
        from crnn_jax.analysis import html_report

        if options.reach is not None:
            raise ConfigError("--reach works only for the report of a sweep of variants")
        print(f"wrote {html_report.write(options.workdir, options.data)} and its plots")
        return 0
    if options.data:
        raise ConfigError("--data works only for the report of one run")
    if scheme_report.is_scheme_sweep(options.workdir):
        if options.reach is not None:
            raise ConfigError("--reach works only for the report of a sweep of variants")
        print(scheme_report.write(options.workdir), end="", flush=True)
        return 0
    reach = 0.95 if options.reach is None else options.reach
    runs = sweep_report.read_grid(options.workdir, reach)
    rows = sweep_report.table(runs)
    directory = run_dir.RunDir(options.workdir)
    markdown = sweep_report.to_markdown(runs, rows, reach)
    markdown += sweep_report.images(directory.workdir)
    directory.write_text("report.md", markdown)
    directory.write_text("report.csv", sweep_report.to_csv(rows))
    print(markdown, end="", flush=True)
    directory.write_bytes("report.png", plots.variants(rows))
    if sweep_report.has_sizes(runs):
        directory.write_bytes("report_sizes.png", plots.sizes(rows))
    page = sweep_page.of_variants(options.workdir, runs, rows, reach)
    directory.write_text("report.html", page)
    return 0


def audit(options: argparse.Namespace) -> int:
    """Runs the command audit."""
    from crnn_jax.analysis import label_audit
    from crnn_jax.data import folder
    from crnn_jax.runs import run_dir

    doubts = label_audit.rank(options.workdir)
    directory = run_dir.RunDir(options.workdir)
    directory.write_csv("audit.csv", label_audit.Doubt._fields, doubts)
    for doubt in doubts[: options.top]:
        if doubt.disagree:
            print(errors.one_line(f"{doubt.file}: {doubt}"))
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
