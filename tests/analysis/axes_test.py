"""The labeled values of axes."""

from __future__ import annotations

import pytest

from crnn_jax.analysis import axes


@pytest.mark.parametrize(
    ("epochs", "labels"),
    [([1], "1 2"), ([1, 2], "1 2"), ([1, 3], "1 2 3"), ([0, 50], "0 10 20 30 40 50")],
)
def test_epochs_are_labeled_with_whole_numbers(epochs: list[float], labels: str) -> None:
    assert " ".join(text for _, text in axes.epoch_axis(epochs).ticks()) == labels


def test_other_values_are_labeled_with_fractions() -> None:
    found = [text for _, text in axes.Axis("seconds", 1, 2).ticks()]
    assert found == ["1", "1.2", "1.4", "1.6", "1.8", "2"]
