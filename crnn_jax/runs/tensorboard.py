"""A run's metrics as TensorBoard event files; tensorboardX is imported nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from crnn_jax.errors import RunError
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files, held

FOLDER = "tensorboard"  # in the run directory
_NAMES = {
    "step_loss": "loss/step",
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "exact_match": "validation/exact_match",
    "cer": "validation/cer",
}


@contextlib.contextmanager
def mirror(run: RunDir, on: bool) -> Iterator[None]:
    """Copies the lines of `metrics.jsonl`, present and future, to a TensorBoard event file.

    Raises:
      RunError: tensorboardX is not installed.
    """
    if not on:
        yield
        return
    try:
        import tensorboardX
    except ImportError as error:
        raise RunError(
            "log.tensorboard needs tensorboardX: pip install 'crnn-jax[tensorboard]'"
        ) from error
    folder = held.anchored(files.below(run.workdir, FOLDER))
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()  # from an interrupted attempt, whose lines are in metrics.jsonl
    writer = tensorboardX.SummaryWriter(str(folder))

    def add(values: Mapping[str, Any]) -> None:
        for key, name in _NAMES.items():
            if key in values:
                writer.add_scalar(name, values[key], values["step"])
        if "val_loss" in values:
            writer.flush()

    try:
        if run.metrics.stat().st_size:
            for line in run.metrics_lines():
                add(line)
        run.listeners.append(add)
        yield
    finally:
        run.listeners.clear()
        writer.close()
