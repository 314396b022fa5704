"""Sums and maxima over alignments, compared with all K ** T paths of small examples."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import alignment

STEPS, CLASSES = 6, 4  # symbols 0, 1, 2 and the blank 3
align = jax.jit(alignment.align)
occupancy = jax.jit(alignment.occupancy)
character_posteriors = jax.jit(alignment.character_posteriors)
LABELS = [[0], [0, 1], [1, 1], [0, 0, 2], [2, 0, 2], [0, 1, 2, 0], [1, 1, 1], []]


def _spans(path: Sequence[int]) -> tuple[Any, Any]:
    """The text of a path and, for each step, the position of its character; -1 at a blank."""
    text, positions, previous = [], [], CLASSES - 1
    for k in path:
        if k == CLASSES - 1:
            positions.append(-1)
        else:
            if k != previous:
                text.append(k)
            positions.append(len(text) - 1)
        previous = k
    return tuple(text), positions


@pytest.fixture(scope="module")
def paths() -> tuple[np.ndarray, dict[tuple[int, ...], list[Any]]]:
    """Logits [T, K], and {text: [(probability, positions)]} of all paths."""
    logits = np.random.default_rng(3).normal(size=(STEPS, CLASSES)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found: dict[tuple[int, ...], list[tuple[float, list[int]]]] = {}
    for path in itertools.product(range(CLASSES), repeat=STEPS):
        text, positions = _spans(path)
        probability = math.prod(p[t, k] for t, k in enumerate(path))
        found.setdefault(text, []).append((probability, positions))
    return logits, found


def _batch(logits: Any, labels: Any) -> tuple[Any, Any]:
    width = max(map(len, labels))
    padded = np.full((len(labels), width), -1, np.int32)
    for row, label in zip(padded, labels, strict=True):
        row[: len(label)] = label
    repeated = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (len(labels), *logits.shape))
    return repeated, jnp.asarray(padded)


def test_the_best_path_of_each_label(
    paths: tuple[np.ndarray, dict[tuple[int, ...], list[Any]]],
) -> None:
    logits, found = paths
    aligned = align(*_batch(logits, LABELS)).tolist()
    assert aligned == [max(found[tuple(label)])[1] for label in LABELS]


def test_occupancy_is_the_share_of_the_paths_that_are_there(
    paths: tuple[np.ndarray, dict[tuple[int, ...], list[Any]]],
) -> None:
    logits, found = paths
    got = np.asarray(occupancy(*_batch(logits, LABELS)))  # [B, T, L]
    for rows, label in zip(got, LABELS, strict=True):
        total = sum(p for p, _ in found[tuple(label)])
        expected = np.zeros_like(rows)
        for probability, positions in found[tuple(label)]:
            for t, n in enumerate(positions):
                if n >= 0:
                    expected[t, n] += probability / total
        np.testing.assert_allclose(rows, expected, atol=2e-6)


def test_posteriors_are_those_of_the_texts_that_differ_in_one_character(
    paths: tuple[np.ndarray, dict[tuple[int, ...], list[Any]]],
) -> None:
    logits, found = paths
    got = np.asarray(character_posteriors(*_batch(logits, LABELS)))
    for rows, label in zip(got, LABELS, strict=True):
        for n in range(rows.shape[0]):
            if n >= len(label):
                assert not rows[n].any()
                continue
            texts = [(*label[:n], k, *label[n + 1 :]) for k in range(CLASSES - 1)]
            weights = [sum(p for p, _ in found.get(text, [])) for text in texts]
            np.testing.assert_allclose(rows[n], np.divide(weights, sum(weights)), atol=2e-6)


def test_a_label_that_does_not_fit_has_no_alignment() -> None:
    given = _batch(np.zeros((STEPS, CLASSES)), [[0, 0, 0, 0]] * len(LABELS))  # needs seven steps
    assert align(*given).tolist() == [[-1] * STEPS] * len(LABELS)
    assert not np.asarray(occupancy(*given)).any()
    assert not np.asarray(character_posteriors(*given)).any()


def test_a_tie_is_still_one_path() -> None:
    # All classes are equal, so any alignment is best; it must spell the text.
    logits, labels = _batch(np.zeros((STEPS, CLASSES)), [[0, 0, 2], [1, 2, 1], *[[0, 1, 2, 0]] * 6])
    for row, label in zip(align(logits, labels).tolist()[:2], [[0, 0, 2], [1, 2, 1]],
                          strict=True):  # fmt: skip
        path = [CLASSES - 1 if n < 0 else label[n] for n in row]
        assert list(_spans(path)[0]) == label
        assert _spans(path)[1] == row


def test_real_sized_logits_do_not_underflow() -> None:
    logits = jax.random.normal(jax.random.key(0), (2, 50, 20)) * 20
    labels = jnp.array([[1, 2, 3, 4, 5], [7, 7, -1, -1, -1]])
    posterior = np.asarray(character_posteriors(logits, labels))
    np.testing.assert_allclose(posterior.sum(-1), [[1] * 5, [1, 1, 0, 0, 0]], atol=1e-5)
    assert np.isfinite(np.asarray(occupancy(logits, labels))).all()
