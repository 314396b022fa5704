"""What a person sees of a run: a live bar on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Self

from tqdm import tqdm


class Progress:
    """A context manager around the training loop."""

    def __init__(self, epochs: int, steps_per_epoch: int, steps_done: int):
        self._epochs = epochs
        self._first = steps_done / steps_per_epoch
        self._start = time.monotonic()
        self._bar = (
            tqdm(
                total=epochs * steps_per_epoch,
                initial=steps_done,
                unit="step",
                file=sys.stdout,
                dynamic_ncols=True,
            )
            if sys.stdout.isatty()
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.close()

    def steps(self, count: int) -> None:
        if self._bar:
            self._bar.update(count)

    def loss(self, value: float) -> None:
        """The newest training loss that is known on the host."""
        if self._bar:
            self._bar.set_postfix_str(f"loss {value:.3f}", refresh=False)

    def epoch(self, values: Mapping[str, float]) -> None:
        """Shows an epoch's metrics, as `metrics.jsonl` names them."""
        epoch = int(values["epoch"])
        text = (
            f"loss {values['loss']:.4f}  val_loss {values['val_loss']:.4f}  "
            f"exact match {values['exact_match']:.2%}"
        )
        if self._bar:
            self._bar.set_description(f"epoch {epoch}/{self._epochs}  {text}")
            return
        seconds = (time.monotonic() - self._start) / (epoch - self._first)
        left = seconds * (self._epochs - epoch)
        print(
            f"epoch {epoch}/{self._epochs}  {text}  {seconds:.1f} s/epoch  {left:.0f} s left",
            flush=True,
        )
