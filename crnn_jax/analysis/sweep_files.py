"""Writes the files of a sweep's report: tables, plots and a page."""

from __future__ import annotations

import dataclasses
import os

from crnn_jax.analysis import plots, sweep_page, sweep_report, sweep_runs
from crnn_jax.runs.run_dir import RunDir


def write(workdir: str | os.PathLike[str], reach: float = sweep_runs.REACH) -> str:
    """Writes report.md, report.csv, report.html and the plots into `workdir`; returns the Markdown.

    Args:
      workdir: the directory of a sweep.
      reach: the exact match, a share, whose first epoch is reported.

    Raises:
      RunError: there are no finished runs, or a record or a file cannot be used.
    """
    runs = sweep_runs.read_grid(workdir, reach)
    rows = sweep_report.table(runs)
    directory = RunDir(workdir)
    markdown = sweep_report.to_markdown(runs, rows, reach)
    markdown += sweep_report.unfinished(directory.workdir)
    markdown += sweep_report.images(directory.workdir)
    directory.write_text("report.md", markdown)
    names = [field.name for field in dataclasses.fields(sweep_report.Row)]
    directory.write_csv("report.csv", names, map(dataclasses.astuple, rows))
    directory.write_bytes("report.png", plots.variants(rows))
    if sweep_report.has_sizes(runs):
        directory.write_bytes("report_sizes.png", plots.sizes(rows))
    directory.write_text("report.html", sweep_page.of_variants(workdir, runs, rows, reach))
    return markdown
