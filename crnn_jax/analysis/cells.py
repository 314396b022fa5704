"""The run directories of a sweep: links to their files, and those that are not finished."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from crnn_jax.analysis.page import Link
from crnn_jax.runs.run_dir import FAILED
from crnn_jax.runs.trackers import FILES as TRACKER_FILES

PAGE = "report.html"
_TRACKERS = {file: name for name, file in TRACKER_FILES.items()}


class Unfinished(NamedTuple):
    """A run without a result."""

    path: Path  # relative to the directory of the sweep
    state: str
    links: list[Link]


def links(workdir: Path, path: Path) -> list[Link]:
    """Links to the page of a run and to the files of its trackers, if they exist.

    Args:
      workdir: the directory of the sweep, where the page with the links is.
      path: the run directory, relative to it.
    """
    return _existing(workdir, path, {PAGE: "report", **_TRACKERS})


def having(workdir: Path, file: str) -> list[Path]:
    """The run directories of a sweep that have a file, sorted: VARIANT/CELL, or A/B/CELL."""
    return sorted(path.parent for n in (2, 3) for path in workdir.glob("*/" * n + file))


def finished(workdir: str | os.PathLike[str]) -> list[Path]:
    """The finished runs below a directory at any depth, or the directory itself, sorted.

    A run directory is not searched, because it can contain other runs: those that `robustness`
    adapts.
    """
    found = []
    for folder, folders, names in os.walk(workdir):
        if "result.json" in names:
            found.append(Path(folder))
        if "result.json" in names or "config.json" in names:
            folders.clear()
    return sorted(found)


def unfinished(workdir: Path) -> list[Unfinished]:
    """The runs of a sweep that have started and have no result, by path."""
    found = []
    for run in having(workdir, "config.json"):
        if os.path.lexists(run / "result.json"):
            continue
        path = run.relative_to(workdir)
        state = "failed" if (run / FAILED).exists() else "not finished"
        shown = {FAILED: FAILED, "log.txt": "log.txt", **_TRACKERS}
        found.append(Unfinished(path, state, _existing(workdir, path, shown)))
    return found


def _existing(workdir: Path, path: Path, names: dict[str, str]) -> list[Link]:
    return [
        Link(name, urllib.parse.quote(os.fsencode(path / file)))
        for file, name in names.items()
        if (workdir / path / file).exists()
    ]
