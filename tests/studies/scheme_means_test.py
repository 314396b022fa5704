"""Means over schemes, by hand, and the published tables, which must be those of the records."""

from pathlib import Path

import pytest

from studies import scheme_means
from studies.scheme_means import Scheme

ROOT = Path(__file__).resolve().parents[2]


def test_the_mean_weighs_schemes_alike_and_its_interval_is_that_of_the_test_images() -> None:
    parts = [Scheme(0.5, 100, 1), Scheme(0.9, 50, 3)]
    found = scheme_means.mean_over(parts)
    # Variances 0.25 / 100 and 0.09 / 50; that of the mean is a quarter of their sum, 0.001075.
    assert found == pytest.approx((0.7, 0.7 - 0.064262, 0.7 + 0.064262), abs=1e-5)
    assert scheme_means.mean_over([Scheme(1.0, 100, 1)]) == (1, 1, 1)
    assert scheme_means.mean_over([Scheme(0.99, 10, 1)]).high == 1


def test_seeds_of_a_scheme_are_averaged() -> None:
    counts = [("a", 1), ("a", 2), ("b", 4)]
    runs = [{"scheme": s, "test_images": 4, "num_exact": {"labeled": n}} for s, n in counts]
    found = scheme_means.schemes({"runs": runs}, "labeled")
    assert found == {"a": Scheme(0.375, 4, 2), "b": Scheme(1.0, 4, 1)}


def test_scores_of_a_reader_without_labels_are_read() -> None:
    scores = {"case_folded": {"num_exact": 3}, "form_found": {"num_exact": 5}}
    record = {"schemes": {"a": {"num_examples": 10, "scores": scores}}}
    assert scheme_means.schemes(record, "form_found") == {"a": Scheme(0.5, 10, 1)}


@pytest.mark.parametrize("entry", scheme_means.ROWS, ids=lambda entry: entry[0])
def test_the_published_means_are_those_of_the_records(entry: tuple[str, str, str]) -> None:
    row = scheme_means.row(*entry)
    page = (ROOT / "docs" / "results" / "accuracy.md").read_text()
    assert row in page.splitlines()
    mean = row.split(" | ")[1]
    assert f"[{mean}](" in (ROOT / "README.md").read_text()
