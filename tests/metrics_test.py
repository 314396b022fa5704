import itertools

import pytest

from crnn_jax import metrics


def test_scores_counted_by_hand():
    # abc read right; abc -> abd: 1 edit, 2 in place; ab -> b: 1 edit, 0 in place; a -> '': 1, 0.
    scores = metrics.score(["abc", "abc", "ab", "a"], ["abc", "abd", "b", ""])
    assert scores.num_exact == 1
    assert scores.num_examples == 4
    assert scores.num_chars == 9
    assert scores.exact_match == 1 / 4
    assert scores.cer == 3 / 9
    assert scores.char_accuracy == 5 / 9


def _all_edits(a: str, b: str) -> int:
    """The definition, by recursion over the last characters."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        _all_edits(a[:-1], b) + 1,
        _all_edits(a, b[:-1]) + 1,
        _all_edits(a[:-1], b[:-1]) + (a[-1] != b[-1]),
    )


def test_edit_distance_equals_its_definition_on_all_short_texts():
    texts = ["".join(t) for n in range(4) for t in itertools.product("ab", repeat=n)]
    for a, b in itertools.product(texts, texts):
        assert metrics.edit_distance(a, b) == _all_edits(a, b), (a, b)


def test_edit_distance_of_the_textbook():
    assert metrics.edit_distance("kitten", "sitting") == 3


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # 102 of 104: quoted in the project's issue as 93.3 to 99.5 %.
        (102, 104, 0.9326, 0.9947),
        # Newcombe 1998, table I, Wilson's method: 81/263, 15/148, 0/20, 1/29.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_of_published_examples(successes, trials, low, high):
    # The source rounds to four digits.
    assert metrics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)
