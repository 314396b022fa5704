"""The labeling order, against the definition by brute force."""

import itertools
import math

import numpy as np
import pytest

from crnn_jax.labeling import ordering


def value(texts: tuple[str, ...]) -> float:
    """The value of a set of texts, from its definition."""
    total = 0.0
    for symbol in {"", *"".join(texts)}:
        parts = [t.count(symbol) / len(t) if t else 0.0 for t in texts]
        if not symbol:
            parts = [float(not t) for t in texts]
        total += math.sqrt(sum(parts))
    return total


def random_texts(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(rng.choice(list("abcd7"), rng.integers(0, 5))) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 7, 50, 99])
def test_the_least_confident_are_those_of_a_stable_sort(count: int) -> None:
    confidences = np.random.default_rng(0).integers(0, 10, 50).astype(np.float32) / 10  # many ties
    expected = sorted(range(50), key=lambda i: (confidences[i], i))[:count]
    assert ordering.least_confident(confidences, count).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_each_text_adds_the_most_value_to_those_before_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts, labels = random_texts(rng, 12), random_texts(rng, 3)
    chosen = ordering.covering(texts, labels, 6)
    assert len(set(chosen)) == 6
    have = tuple(labels)
    for place, i in enumerate(chosen):
        left = [k for k in range(12) if k not in chosen[:place]]
        best = max(value((*have, texts[k])) for k in left)
        assert value((*have, texts[i])) == pytest.approx(best, abs=1e-9)
        have = (*have, texts[i])


@pytest.mark.parametrize("seed", range(5))
def test_the_set_is_nearly_the_best_one(seed: int) -> None:
    texts = random_texts(np.random.default_rng(seed), 9)
    best = max(value(some) for some in itertools.combinations(texts, 4))
    found = value(tuple(texts[i] for i in ordering.covering(texts, [], 4)))
    assert found >= (1 - 1 / math.e) * best


def test_a_symbol_without_a_label_comes_first() -> None:
    texts = ["1212", "1222", "1213", "2211"]
    assert ordering.covering(texts, ["1122", "2121"], 1) == [2]
    # Without labels, nothing is covered: the first text with the most symbols.
    assert ordering.covering(texts, [], 2)[0] == 2
    assert ordering.covering([], ["12"], 3) == []
    assert ordering.covering(["12", "12"], [], 5) == [0, 1]


def test_a_batch_is_chosen_among_the_images_with_the_lowest_confidence() -> None:
    count = 2
    unsure = ordering.POOL * count
    confidences = np.linspace(0.9, 0.1, 100, dtype=np.float32)  # the last ones are the lowest
    texts = ["12"] * 100
    texts[0] = "xy"  # rare, but the reader is sure of it
    texts[99 - unsure] = "zz"  # just outside of the pool
    texts[99 - unsure + 1] = "34"  # just inside
    chosen = ordering.batch(confidences, texts, ["12"], count)
    assert chosen[0] == 99 - unsure + 1
    assert chosen[1] == 99  # all others are alike, so the least confident of them
    assert len(ordering.batch(confidences[:1], texts[:1], [], count)) == 1
    assert ordering.batch(confidences[:0], [], [], count) == []
