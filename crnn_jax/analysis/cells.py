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


def unfinished(workdir: Path, depth: int) -> list[Unfinished]:
    """The runs that have started and have no result, by path.

    Args:
      workdir: the directory of the sweep.
      depth: the number of names in the path of a run: 2 for VARIANT/CELL.
    """
    found = []
    for config in sorted(workdir.glob("/".join(["*"] * depth) + "/config.json")):
        if os.path.lexists(config.parent / "result.json"):
            continue
        path = config.parent.relative_to(workdir)
        state = "failed" if (config.parent / FAILED).exists() else "not finished"
        shown = {FAILED: FAILED, "log.txt": "log.txt", **_TRACKERS}
        found.append(Unfinished(path, state, _existing(workdir, path, shown)))
    return found


def _existing(workdir: Path, path: Path, names: dict[str, str]) -> list[Link]:
    return [
        Link(name, urllib.parse.quote(os.fsencode(path / file)))
        for file, name in names.items()
        if (workdir / path / file).exists()
    ]
