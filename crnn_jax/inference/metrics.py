"""Scores of readings, in plain Python on the host.

Counts are summed over the images and divided once. Libraries are imported where they are used:
scipy.stats takes half a second to import, and `predict` does not need it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from crnn_jax.charset import merge_look_alikes

# The ways to compare texts: two texts match if the function maps them to the same string.
WAYS: Mapping[str, Callable[[str], str]] = {
    "labeled": str,
    "case_folded": str.casefold,
    "merged": merge_look_alikes,  # case-folded, with o as 0 and i and l as 1
}
_QUANTILE = 1.959964  # of the normal distribution, for intervals of 95 %


class Scores(NamedTuple):
    """Rates over a set of readings, as fractions, and the counts behind them."""

    exact_match: float
    exact_match_low: float  # 95 % Wilson interval
    exact_match_high: float
    cer: float  # edits / characters of the truths; can exceed 1
    char_accuracy: float  # share of the truths' characters that are read at their own position
    num_exact: int
    num_examples: int
    num_chars: int


def score(truths: Sequence[str], readings: Sequence[str]) -> Scores:
    """Scores readings against truths, of which there must be at least one.

    Edits are counted by the Levenshtein distance: insertions, deletions and substitutions. If no
    truth has a character, `cer` is the number of edits.
    """
    from rapidfuzz.distance import Levenshtein

    exact = chars = edits = in_place = 0
    for truth, reading in zip(truths, readings, strict=True):
        exact += truth == reading
        chars += len(truth)
        edits += Levenshtein.distance(truth, reading)
        in_place += sum(a == b for a, b in zip(truth, reading, strict=False))
    low, high = wilson_interval(exact, len(truths))
    return Scores(
        exact_match=exact / len(truths),
        exact_match_low=low,
        exact_match_high=high,
        cer=edits / max(chars, 1),
        char_accuracy=in_place / max(chars, 1),
        num_exact=exact,
        num_examples=len(truths),
        num_chars=chars,
    )


class ExactMatches(NamedTuple):
    """Exact matches of the same readings, for three definitions of equal.

    Data sets differ in whether their labels distinguish cases and look-alikes.
    """

    as_labeled: int
    case_folded: int  # equal after str.casefold
    merged: int  # equal after str.casefold, with look-alikes merged (charset.merge_look_alikes)
    num_examples: int

    @property
    def differ(self) -> bool:
        """Whether the definitions of equal give different counts."""
        return self.as_labeled != self.merged

    def shares(self) -> dict[str, float]:
        """Returns the exact matches as fractions, by their names in a JSON output."""
        count = max(self.num_examples, 1)
        return {
            "exact_match_as_labeled": self.as_labeled / count,
            "exact_match_case_folded": self.case_folded / count,
            "exact_match_look_alikes_merged": self.merged / count,
        }

    def __str__(self) -> str:
        count = max(self.num_examples, 1)
        return (
            f"exact match as labeled {self.as_labeled / count:.2%}, case-folded "
            f"{self.case_folded / count:.2%}, with look-alikes merged {self.merged / count:.2%}"
        )


def exact_matches(pairs: Iterable[tuple[str, str]]) -> ExactMatches:
    """Counts exact matches over (label, text) pairs in each of the three ways."""
    pairs = list(pairs)
    labeled, folded, merged = (
        sum(fold(label) == fold(text) for label, text in pairs) for fold in WAYS.values()
    )
    return ExactMatches(labeled, folded, merged, len(pairs))


def confusions(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[tuple[str, str], int]:
    """Counts how often each symbol was read as which symbol, over (truth, reading) pairs.

    A truth or a reading is a text or a list of symbols. They are aligned by the fewest edits. If
    several alignments have equally few, substitutions are preferred, from the end of the text on,
    because a symbol that is mistaken for another is the usual error. (The alignments of rapidfuzz
    prefer deletions.)

    Returns:
      Counts by (truth, reading). A symbol that was left out is (symbol, ''), and an extra one is
      ('', symbol).
    """
    counts: Counter[tuple[str, str]] = Counter()
    for truth, reading in pairs:
        table = _edits(truth, reading)
        i, j = len(truth), len(reading)
        while i or j:
            both = i and j and table[i][j] == table[i - 1][j - 1] + (truth[i - 1] != reading[j - 1])
            left_out = not both and i and table[i][j] == table[i - 1][j] + 1
            x = truth[i - 1] if both or left_out else ""
            y = "" if left_out else reading[j - 1]
            counts[x, y] += 1
            i, j = i - bool(x), j - bool(y)
    return dict(counts)


def _edits(a: Sequence[str], b: Sequence[str]) -> list[list[int]]:
    """Returns the Levenshtein distances [i][j] of the first i characters of `a` and j of `b`."""
    table = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        above, row = table[-1], [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        table.append(row)
    return table


def wilson_interval(successes: int, trials: int, samples: int | None = None) -> tuple[float, float]:
    """Returns the 95 % score interval of a proportion (Wilson 1927), as fractions.

    Args:
      successes: number of successful trials.
      trials: number of trials.
      samples: number of independent trials, if several are of the same sample. Readings of the same
        images by several seeds are as many samples as there are images.
    """
    # Not scipy's, which takes whole numbers: the mean over seeds is a fraction of an image.
    n = trials if samples is None else samples
    share, z2 = successes / trials, _QUANTILE**2
    middle, half = share + z2 / (2 * n), math.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return low if successes else 0.0, high if successes < trials else 1.0


class Bin(NamedTuple):
    """A bin of readings with similar confidence."""

    confidence: float  # mean
    right: float  # share of the readings that are right
    readings: int


def bins_of(confidences: Sequence[float], right: Sequence[bool], bins: int) -> list[Bin]:
    """Groups readings by confidence into bins of equal width; empty bins are left out."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for pair in zip(confidences, right, strict=True):
        groups.setdefault(min(int(pair[0] * bins), bins - 1), []).append(pair)
    return [
        Bin(
            sum(c for c, _ in group) / len(group), sum(r for _, r in group) / len(group), len(group)
        )
        for _, group in sorted(groups.items())
    ]


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3), as a fraction.

    This is the mean difference between confidence and accuracy over bins of equal width, weighted
    by the readings in each bin; 0 if there are no readings.
    """
    gaps = [b.readings * abs(b.confidence - b.right) for b in bins_of(confidences, right, bins)]
    return sum(gaps) / max(len(confidences), 1)


ACCURACIES = (0.99, 0.999)  # accuracies for which reports give the coverage


class Coverage(NamedTuple):
    """How many images a reader answers if it rejects readings below a confidence threshold."""

    threshold: float | None  # lowest confidence that is answered; None if no image can be answered
    coverage: float  # share of the images that are answered
    accuracy: float  # share of the answers that are right; 1 if there are none

    def __str__(self) -> str:
        if self.threshold is None:
            return "no image can be answered at this accuracy"
        return (
            # Not rounded: a rounded threshold would answer other images.
            f"{self.coverage:.2%} are answered, at confidence {self.threshold!r} or more, and "
            f"{self.accuracy:.2%} of these are right"
        )


def coverage(confidences: Sequence[float], right: Sequence[bool], accuracy: float) -> Coverage:
    """Returns the largest coverage at which at least `accuracy` of the answers are right."""
    pairs = sorted(zip(confidences, right, strict=True), reverse=True)
    best, hits = Coverage(None, 0.0, 1.0), 0
    for count, (confidence, is_right) in enumerate(pairs, 1):
        hits += is_right
        # A threshold cannot separate readings of equal confidence.
        is_last = count == len(pairs) or pairs[count][0] < confidence
        if is_last and hits / count >= accuracy:
            best = Coverage(confidence, count / len(pairs), hits / count)
    return best


def mcnemar(gained: int, lost: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test (McNemar 1947).

    Args:
      gained: images that only the first of two readers reads right.
      lost: images that only the second reads right. Under the null hypothesis both are equally
        likely.
    """
    from scipy import stats

    discordant = gained + lost
    return float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0


def bootstrap_mean(
    values: Sequence[int], num_zeros: int, draws: int = 10_000
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean of `values` and `num_zeros` zeros.

    A resample of integers is a multinomial draw of how often each integer occurs (Efron &
    Tibshirani 1993, chapter 13), so memory does not grow with `num_zeros`, which can be millions;
    `scipy.stats.bootstrap` would draw every value. The seed is 0.
    """
    by_value = Counter(values)
    by_value[0] += num_zeros
    kinds, counts = np.array(sorted((value, n) for value, n in by_value.items() if n > 0)).T
    total = counts.sum()
    resamples = np.random.default_rng(0).multinomial(total, counts / total, draws)
    low, high = np.percentile(resamples @ kinds / total, [2.5, 97.5])
    return float(low), float(high)
