"""How readings are scored: plain Python on the host, sums and counts, divided once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Rates over a set of readings, as fractions; the counts that they come from."""

    exact_match: float
    exact_match_low: float  # 95 % Wilson interval
    exact_match_high: float
    cer: float  # edits / characters of the truths; can exceed 1
    char_accuracy: float  # characters of the truths read right at their own position
    num_exact: int
    num_examples: int
    num_chars: int


def score(truths: Sequence[str], readings: Sequence[str]) -> Scores:
    """Scores readings against truths, of which there must be at least one character."""
    exact = chars = edits = in_place = 0
    for truth, reading in zip(truths, readings, strict=True):
        exact += truth == reading
        chars += len(truth)
        edits += edit_distance(truth, reading)
        in_place += sum(a == b for a, b in zip(truth, reading, strict=False))
    low, high = wilson_interval(exact, len(truths))
    return Scores(
        exact_match=exact / len(truths),
        exact_match_low=low,
        exact_match_high=high,
        cer=edits / chars,
        char_accuracy=in_place / chars,
        num_exact=exact,
        num_examples=len(truths),
        num_chars=chars,
    )


def edit_distance(a: str, b: str) -> int:
    """The fewest insertions, deletions and substitutions that turn `a` into `b` (Levenshtein)."""
    return 0 if a == b else _edits(a, b)[-1][-1]


def confusions(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How often each symbol of the truths was read as which, over (truth, reading) pairs.

    Along the fewest edits; where several ways are as short, substitutions go before the others.
    '' stands for nothing: a symbol that was left out is (symbol, ''), one too many ('', symbol).
    """
    counts: dict[tuple[str, str], int] = {}
    for truth, reading in pairs:
        table = _edits(truth, reading)
        i, j = len(truth), len(reading)
        while i or j:
            both = i and j and table[i][j] == table[i - 1][j - 1] + (truth[i - 1] != reading[j - 1])
            left_out = not both and i and table[i][j] == table[i - 1][j] + 1
            x = truth[i - 1] if both or left_out else ""
            y = "" if left_out else reading[j - 1]
            counts[x, y] = counts.get((x, y), 0) + 1
            i, j = i - bool(x), j - bool(y)
    return counts


def _edits(a: str, b: str) -> list[list[int]]:
    """The fewest edits from the first i characters of `a` to the first j of `b`, [i][j]."""
    table = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        above, row = table[-1], [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        table.append(row)
    return table


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), as fractions."""
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


class Bin(NamedTuple):
    """Readings of about the same confidence."""

    confidence: float  # mean
    right: float  # share that is read right
    readings: int


def bins_of(confidences: Sequence[float], right: Sequence[bool], bins: int) -> list[Bin]:
    """The bins of equal width that hold readings, from the least confidence on."""
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
    """How far confidence is from the share that is right, a mean over bins of equal width.

    The expected calibration error of Guo et al. 2017, equation 3; a fraction. 0 for no readings.
    """
    gaps = [b.readings * abs(b.confidence - b.right) for b in bins_of(confidences, right, bins)]
    return sum(gaps) / max(len(confidences), 1)


ACCURACIES = (0.99, 0.999)  # at which it is told how much can be answered


class Coverage(NamedTuple):
    """What a reader answers that keeps silent below a confidence."""

    threshold: float | None  # least confidence that is answered; None if none may be
    coverage: float  # share of the pictures that are answered
    accuracy: float  # share of those that are read right; 1 for none

    def __str__(self) -> str:
        if self.threshold is None:
            return "nothing can be answered"
        return (
            f"{self.coverage:.2%} are answered, at confidence {self.threshold:.4f} or more, and "
            f"{self.accuracy:.2%} of these are right"
        )


def coverage(confidences: Sequence[float], right: Sequence[bool], accuracy: float) -> Coverage:
    """The most that can be answered with at least `accuracy` of the answers right."""
    pairs = sorted(zip(confidences, right, strict=True), reverse=True)
    best, hits = Coverage(None, 0.0, 1.0), 0
    for count, (confidence, is_right) in enumerate(pairs, 1):
        hits += is_right
        # Readings of one confidence are answered together, or none of them.
        is_last = count == len(pairs) or pairs[count][0] < confidence
        if is_last and hits / count >= accuracy:
            best = Coverage(confidence, count / len(pairs), hits / count)
    return best


_MAX_EXACT = 10_000  # discordant pairs whose tail is summed in whole numbers


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test: of two readers, how often only one was right.

    Under the null hypothesis the discordant pairs are tosses of a fair coin (McNemar 1947).
    """
    n = gained + lost
    if n > _MAX_EXACT:
        from scipy import special

        return min(1.0, 2 * float(special.bdtr(min(gained, lost), n, 0.5)))
    tail = ways = 1
    for k in range(min(gained, lost)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * (tail / 2**n))


def bootstrap_mean(
    values: Sequence[int], num_zeros: int, draws: int = 10_000
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` and `num_zeros` zeros, drawn with seed 0.

    A resample of whole numbers is a multinomial draw of how often each number occurs (Efron &
    Tibshirani 1993, chapter 13).
    """
    by_kind = Counter(values)
    by_kind[0] += num_zeros
    kinds, counts = np.array(sorted((kind, n) for kind, n in by_kind.items() if n > 0)).T
    total = counts.sum()
    draws_of_kinds = np.random.default_rng(0).multinomial(total, counts / total, draws)
    low, high = np.percentile(draws_of_kinds @ kinds / total, [2.5, 97.5])
    return float(low), float(high)
