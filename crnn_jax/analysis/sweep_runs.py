"""The finished runs of a sweep, from their records. Does not import jax.

The `errors.csv` of a run lists the misread files of its validation part; the others were read
correctly.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from crnn_jax.analysis import cells, learning_curves
from crnn_jax.analysis.learning_curves import Epoch
from crnn_jax.errors import RunError, one_line
from crnn_jax.runs.result import Answer, Misread, Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training.early_stopping import OFF_PLATEAU

REACH = 0.95  # exact match whose first epoch is reported, unless another is asked for


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, as the table needs it."""

    variant: str
    cell: str  # names seed and fold
    result: Result
    train_size: int  # from the config: 0 for all images
    commit: str | None
    num_images: int  # images of the whole data set
    # File name and label of each validation image; None in old records.
    read: frozenset[tuple[str, str]] | None
    misread: frozenset[str]
    left_plateau: int | None  # epoch
    epoch_reached: int | None  # the first with an exact match of `reach`
    seconds_reached: float | None
    epochs: tuple[Epoch, ...]


def read_grid(workdir: str | os.PathLike[str], reach: float = REACH) -> list[Run]:
    """Reads the finished runs of a sweep, `VARIANT/CELL/result.json`.

    A variant's name can be a path, A/B.

    Args:
      workdir: the directory of the sweep.
      reach: the exact match, as a fraction, for which the first epoch is reported.

    Raises:
      RunError: there are no finished runs, or they used different data.
    """
    folder = Path(workdir)
    runs = [
        _read_run(path, path.parent.relative_to(folder).as_posix(), reach)
        for path in cells.having(folder, "result.json")
    ]
    if not runs:
        raise RunError(f"{workdir} contains no finished runs (VARIANT/CELL/result.json)")
    if len({run.result.fingerprint for run in runs}) > 1:
        raise RunError(f"the runs in {workdir} used different data and cannot be compared")
    return runs


def _read_run(path: Path, variant: str, reach: float) -> Run:
    record = RunDir(path)
    result = record.result()
    assert result is not None
    if not result.num_val:
        raise RunError(
            f"{one_line(str(path))} has no validation part, so its scores are those of training "
            "images. For a sweep, set data.val_fraction and data.min_val_size=0"
        )
    misread = frozenset(row.file for row in record.read_csv("errors.csv", Misread))
    read = None
    if (path / "readings.csv").exists():
        answers = record.read_csv("readings.csv", Answer)
        read = frozenset((row.file, row.truth) for row in answers)
    if len(misread) != result.num_examples - result.num_exact:
        raise RunError(f"{one_line(str(path))}: errors.csv and result.json disagree")
    environment = record.environment()
    data = environment.get("data", {})
    if missing := {"plateau_loss", "num_examples"} - data.keys():
        raise RunError(f"{one_line(str(path / 'environment.json'))} has no key data.{min(missing)}")
    limit = OFF_PLATEAU * data["plateau_loss"]
    epochs = record.epochs()
    reached = next((epoch for epoch in epochs if epoch["exact_match"] >= reach), None)
    return Run(
        variant=variant,
        cell=path.name,
        result=result,
        train_size=record.config_value("data.train_size"),
        commit=environment.get("commit"),
        num_images=data["num_examples"],
        read=read,
        misread=misread,
        left_plateau=next((e["epoch"] for e in epochs if e["val_loss"] < limit), None),
        epoch_reached=reached["epoch"] if reached else None,
        seconds_reached=reached["seconds"] if reached else None,
        epochs=learning_curves.of_lines(epochs),
    )
