"""Progress of a run: a live bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

from tqdm import tqdm

from crnn_jax.training.run import Run


class Progress:
    """A context manager around the training loop of one run or of several in parallel."""

    def __init__(self, runs: Sequence[Run]):
        self._start = time.monotonic()
        self._first = {run.dir.workdir: run.step / run.context.steps_per_epoch for run in runs}
        self._bar = None
        if len(runs) == 1 and sys.stdout.isatty():
            self._bar = tqdm(
                total=runs[0].last_epoch * runs[0].context.steps_per_epoch,
                initial=runs[0].step,
                unit="step",
                file=sys.stdout,
                dynamic_ncols=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.close()

    def steps(self, count: int) -> None:
        """Counts steps of each run that were sent to the device."""
        if self._bar:
            self._bar.update(count)

    def loss(self, value: float) -> None:
        """Shows the newest training loss that is known on the host."""
        if self._bar:
            self._bar.set_postfix_str(f"loss {value:.3f}", refresh=False)

    def epoch(self, run: Run, values: Mapping[str, float]) -> None:
        """Shows an epoch's metrics, as `metrics.jsonl` names them."""
        text = (
            f"epoch {run.epoch}/{run.last_epoch}  loss {values['loss']:.4f}  "
            f"val_loss {values['val_loss']:.4f}  exact match {values['exact_match']:.2%}"
        )
        if self._bar:
            self._bar.set_description(text)
            return
        workdir = run.dir.workdir
        seconds = (time.monotonic() - self._start) / (run.epoch - self._first[workdir])
        name = f"{workdir}: " if len(self._first) > 1 else ""
        left = seconds * (run.last_epoch - run.epoch)
        print(f"{name}{text}  {seconds:.1f} s/epoch  {left:.0f} s left", flush=True)
