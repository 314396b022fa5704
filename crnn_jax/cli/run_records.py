"""The check of commands that need the record of a run's training, such as report and train."""

from __future__ import annotations

import os
from pathlib import Path

from crnn_jax.errors import RunError, one_line

NOT_READERS = " (not general or an export)"  # in the help of these commands


def check(run: str | os.PathLike[str]) -> None:
    """Checks that the argument is no reader without a record: `general`, an export, or on a hub.

    Raises:
      RunError: it is.
    """
    path = Path(run)
    if str(path).lower().startswith("hf:/"):  # a path has one slash less
        raise RunError(
            f"{one_line(str(run))} is a reader on a hub, which has no record of its training; name "
            "the directory of a run"
        )
    # As in `inference.exported.is_export`, whose import takes seconds.
    is_export = (path / "reader.json").is_file() and not (path / "checkpoints").exists()
    if is_export or (str(run) == "general" and not path.exists()):
        what = "an export" if is_export else "the reader that comes with the package"
        raise RunError(
            f"{one_line(str(run))} is {what}, which has no record of its training; name the "
            "directory of a run"
        )
