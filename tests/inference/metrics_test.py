import itertools
from fractions import Fraction

import pytest
from scipy import stats

from crnn_jax.inference import metrics


def test_scores_counted_by_hand() -> None:
    # abc read right; abc -> abd: 1 edit, 2 in place; ab -> b: 1 edit, 0 in place; a -> '': 1, 0.
    scores = metrics.score(["abc", "abc", "ab", "a"], ["abc", "abd", "b", ""])
    assert scores.num_exact == 1
    assert scores.num_examples == 4
    assert scores.num_chars == 9
    assert scores.exact_match == 1 / 4
    assert scores.cer == 3 / 9
    assert scores.char_accuracy == 5 / 9


def test_exact_matches_counted_by_hand() -> None:
    pairs = [
        ("aB0", "aB0"),  # as labeled
        ("Straße", "STRASSE"),  # equal by str.casefold, and not by str.lower
        ("AbO", "abo"),  # by case
        ("aO1", "A0l"),  # by case and look-alikes
        ("0lI", "oi1"),  # by look-alikes
        ("abc", "abd"),
        ("0", ""),
    ]
    counts = metrics.exact_matches(pairs)
    assert counts == (1, 3, 5, 7)
    assert counts.differ
    assert list(counts.shares().values()) == [1 / 7, 3 / 7, 5 / 7]
    assert str(counts) == (
        "exact match as labeled 14.29%, case-folded 42.86%, with look-alikes merged 71.43%"
    )
    assert metrics.exact_matches([("a0", "ao")]).differ  # by look-alikes alone: 0, 0 and 1 of 1
    assert not metrics.exact_matches([("ab", "ab"), ("a", "b")]).differ
    assert metrics.exact_matches([]) == (0, 0, 0, 0)


def _all_edits(a: str, b: str) -> int:
    """The definition, by recursion over the last characters."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        _all_edits(a[:-1], b) + 1,
        _all_edits(a, b[:-1]) + 1,
        _all_edits(a[:-1], b[:-1]) + (a[-1] != b[-1]),
    )


SHORT = ["".join(t) for n in range(4) for t in itertools.product("ab", repeat=n)]


def test_cer_counts_the_edits_of_the_definition_on_all_short_texts() -> None:
    for a, b in itertools.product(SHORT, SHORT):
        # "cc" is read correctly, so that there is a character to divide by.
        cer = metrics.score([a, "cc"], [b, "cc"]).cer
        assert cer == _all_edits(a, b) / (len(a) + 2), (a, b)


def test_cer_of_the_textbook() -> None:
    assert metrics.score(["kitten"], ["sitting"]).cer == 3 / 6


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
def test_wilson_interval_of_published_examples(
    successes: int, trials: int, low: float, high: float
) -> None:
    # The source rounds to four digits.
    assert metrics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (3, 3), (93, 94), (932, 936), (7, 10**6)]
)
def test_wilson_interval_is_that_of_scipy(successes: int, trials: int) -> None:
    result = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    expected = (result.low, result.high)
    assert metrics.wilson_interval(successes, trials) == pytest.approx(expected, abs=1e-7)
    # Three seeds that read the same images alike add nothing.
    again = metrics.wilson_interval(3 * successes, 3 * trials, trials)
    assert again == pytest.approx(expected, abs=1e-7)


def test_wilson_interval_ends_at_0_and_at_1() -> None:
    """Exactly: with share 0 its middle equals half its width, z^2 / 2n. Rounding may not leave it.

    In floating point, 20 of 20 would end above 1, and 0 of 265 begin below 0.
    """
    for trials in range(1, 300):
        assert metrics.wilson_interval(0, trials)[0] == 0
        assert metrics.wilson_interval(trials, trials)[1] == 1


def test_bootstrap_counts_the_zeros_among_the_values_too() -> None:
    """Images that one seed gains and another loses are zeros like those that all read alike."""
    assert metrics.bootstrap_mean([1, -1, 0, 0], 0) == metrics.bootstrap_mean([1, -1], 2)
    assert metrics.bootstrap_mean([1, -1, 0], 1) == metrics.bootstrap_mean([1, -1], 2)


@pytest.mark.parametrize(("gained", "lost"), [(0, 3), (4, 9), (60, 41), (4999, 5001)])
def test_mcnemar_is_the_binomial_tail_in_whole_numbers(gained: int, lost: int) -> None:
    trials, tail, ways = gained + lost, 0, 1  # ways: of choosing k out of the trials
    for k in range(min(gained, lost) + 1):
        tail += ways
        ways = ways * (trials - k) // (k + 1)
    expected = min(Fraction(1), Fraction(2 * tail, 2**trials))
    assert metrics.mcnemar(gained, lost) == pytest.approx(float(expected), rel=1e-12)


def test_calibration_error_by_hand() -> None:
    # Two bins of equal width. Lower: 0.2 wrong, 0.4 right: mean 0.3 against 1/2. Upper: 0.9 and
    # 1.0 right, 0.8 wrong: mean 0.9 against 2/3.
    confidences, right = [0.2, 0.4, 0.9, 1.0, 0.8], [False, True, True, True, False]
    expected = 2 / 5 * (0.5 - 0.3) + 3 / 5 * (0.9 - 2 / 3)
    assert metrics.calibration_error(confidences, right, bins=2) == pytest.approx(expected)
    # The last bin includes 1: mean 0.975 against 1/2.
    assert metrics.calibration_error([1.0, 0.95], [False, True], 10) == pytest.approx(0.475)
    assert metrics.calibration_error([1.0, 0.0], [True, False]) == 0
    assert metrics.calibration_error([], []) == 0


def test_coverage_by_hand() -> None:
    confidences = [0.9, 0.99, 0.5, 0.8, 0.8]
    right = [True, True, False, False, True]
    # From the top: 0.99 right, 0.9 right; then the two of 0.8 together: 3 of 4; then 3 of 5.
    assert metrics.coverage(confidences, right, 1.0) == (0.9, 2 / 5, 1.0)
    assert metrics.coverage(confidences, right, 0.75) == (0.8, 4 / 5, 0.75)
    assert metrics.coverage(confidences, right, 0.6) == (0.5, 1.0, 0.6)
    assert metrics.coverage(confidences, [False] * 5, 0.5) == (None, 0.0, 1.0)


def test_the_limit_of_a_coverage_is_printed_exactly() -> None:
    """Rounded to 1.0000, it would answer nothing."""
    found = metrics.coverage([0.9999769926071167, 0.5], [True, False], 0.999)
    assert "at confidence 0.9999769926071167 or more" in str(found)


def test_coverage_regains_what_one_sure_misread_costs() -> None:
    # The most confident reading is wrong, but 9 of 10 are right.
    confidences = [1 - i / 100 for i in range(10)]
    assert metrics.coverage(confidences, [False] + [True] * 9, 0.9).coverage == 1.0


def test_confusions_follow_the_fewest_edits() -> None:
    # abc -> abd: c for d. aab -> ab: one a left out, and no b for an a. '' -> x: one too many.
    counts = metrics.confusions([("abc", "abd"), ("aab", "ab"), ("", "x"), ("b", "")])
    assert counts == {
        ("a", "a"): 2, ("b", "b"): 2, ("c", "d"): 1, ("a", ""): 1, ("", "x"): 1, ("b", ""): 1,
    }  # fmt: skip


def test_confusions_prefer_substitutions_from_the_end_on() -> None:
    # Two edits either way: a for b and b for a, or an a left out and one too many.
    assert metrics.confusions([("ab", "ba")]) == {("a", "b"): 1, ("b", "a"): 1}
    # c stands for b rather than for a.
    assert metrics.confusions([("ab", "c")]) == {("a", ""): 1, ("b", "c"): 1}


def test_confusions_that_differ_are_as_many_as_edits() -> None:
    for a, b in itertools.product(SHORT, SHORT):
        counts = metrics.confusions([(a, b)])
        assert sum(n for (x, y), n in counts.items() if x != y) == _all_edits(a, b)
        assert sum(n for (x, _), n in counts.items() if x) == len(a)
        assert sum(n for (_, y), n in counts.items() if y) == len(b)


def test_truths_without_text_have_no_characters_to_divide_by() -> None:
    scores = metrics.score(["", ""], ["", "ab"])
    assert (scores.exact_match, scores.cer, scores.char_accuracy, scores.num_chars) == (
        0.5,
        2,
        0,
        0,
    )
