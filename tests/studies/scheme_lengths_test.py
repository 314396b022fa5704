"""The share of samples in which the lengths of a scheme are found."""

from crnn_jax.inference.evaluate import Reading
from studies.scheme_lengths import share_found


def test_the_share_counts_samples_with_exactly_these_lengths() -> None:
    # The text of five characters outweighs the others: 0.9^4 against 10 * 0.1^4. One of eleven
    # samples of ten is without it.
    readings = [Reading("abcd", 0.1)] * 10 + [Reading("abcde", 0.9)]
    assert share_found(readings, (5, 5), 11, samples=5) == 1
    assert share_found(readings, (4, 5), 11, samples=5) == 0
    share = share_found(readings, (4, 4), 10, samples=2000)
    assert abs(share - 1 / 11) < 0.026  # four standard deviations
