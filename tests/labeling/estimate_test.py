"""The estimate of exact match on the rest, against the truth of simulated folders."""

import math

import numpy as np
import pytest

from crnn_jax.labeling import estimate
from crnn_jax.labeling.journal import Entry


@pytest.mark.parametrize(("right", "drawn"), [(16, 20), (0, 3), (7, 7)])
def test_the_interval_is_that_of_wilson(right: int, drawn: int) -> None:
    z, p, n = 1.959964, right / drawn, drawn
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    found = estimate.estimate_accuracy([True] * right + [False] * (drawn - right))
    assert (found.right, found.drawn, found.share) == (right, drawn, p)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_without_draws_nothing_is_known() -> None:
    assert estimate.estimate_accuracy([]) == (0, 0, 0.0, 1.0)
    assert estimate.estimate_accuracy([]).share is None


def test_draws_are_counted_by_reader_and_the_current_one_is_last() -> None:
    def draw(reader: str, label: str, guess: str) -> Entry:
        return Entry("1.png", label, guess, reader, True)

    # The reader of an image that was shown without a reading is not known.
    assert estimate.by_reader([draw("", "x", "x")], "r") == {"r": (0, 0, 0, 1)}
    # A guess in decomposed characters is the label, which is composed.
    assert estimate.by_reader([draw("r", "\u00e9", "e\u0301")], "r")["r"][:2] == (1, 1)
    found = estimate.by_reader([draw("b", "x", "x"), draw("a", "x", "y"), draw("b", "x", "y")], "b")
    assert [(name, *counts[:2]) for name, counts in found.items()] == [("a", 0, 1), ("b", 1, 2)]


def test_every_fourth_place_is_drawn_and_all_images_are_equally_likely() -> None:
    assert [estimate.is_drawn(place) for place in range(8)] == [False, False, False, True] * 2
    rest = np.array([3, 5, 8, 13])
    draws = [estimate.draw(rest, place) for place in range(4000)]
    # The standard deviation of each count is sqrt(4000 * 1/4 * 3/4) = 27.
    assert all(abs(draws.count(number) - 1000) < 4 * 27 for number in rest.tolist())
    assert draws[:50] == [estimate.draw(rest, place) for place in range(50)]


def test_the_interval_covers_the_truth_although_hard_images_are_labeled_first() -> None:
    folders, entries, covered, naive = 400, 120, 0, 0
    rng = np.random.default_rng(3)
    for _ in range(folders):
        # The probability of a right guess is the confidence, and the images are in random order.
        confidences = rng.beta(4, 1, 2000)
        is_right = rng.random(2000) < confidences
        is_done = np.zeros(2000, bool)
        drawn, chosen = [], []
        for place in range(entries):
            rest = np.flatnonzero(~is_done)
            if estimate.is_drawn(place):
                number = estimate.draw(rest, place)
                drawn.append(bool(is_right[number]))
            else:
                number = int(rest[np.argmin(confidences[rest])])
                chosen.append(bool(is_right[number]))
            is_done[number] = True
        truth = is_right[~is_done].mean()
        found = estimate.estimate_accuracy(drawn)
        all_entries = estimate.estimate_accuracy(drawn + chosen)
        covered += found.low <= truth <= found.high
        naive += all_entries.low <= truth <= all_entries.high
    assert covered / folders > 0.93
    assert naive / folders < 0.05  # of all entries: the share of accepted guesses is far too low
