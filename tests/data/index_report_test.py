"""Which names are running numbers."""

from collections.abc import Iterable

import pytest

from crnn_jax.data import index_report


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(10), True),
        ([*range(9), 19], True),  # ten of twenty numbers
        ([*range(9), 20], False),
        (range(0, 30, 3), False),  # a third of them
        (range(4520, 4530), True),  # ten of 10,000 are so near by chance almost never
        (range(4523, 4528), False),  # five can be by chance
        ([*range(9), 8], False),  # not distinct
    ],
)
def test_running_numbers_are_dense_and_begin_low_or_are_many(
    numbers: Iterable[int], expected: bool
) -> None:
    assert index_report.is_running([str(number) for number in numbers], False) is expected
