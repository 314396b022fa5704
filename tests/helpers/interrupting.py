"""Interrupts a training run."""

from __future__ import annotations

import os

import pytest

from crnn_jax.training.progress import Progress


def interrupt_after(count: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends this process a signal after a number of steps, like a scheduler or a user."""
    left = iter(range(count, -1000, -1))

    def steps(self: Progress, count: int) -> None:
        if next(left) == 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "steps", steps)
