import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.errors import ConfigError
from crnn_jax.models import ctc_loss, greedy

# One program each: eager code would compile every operation of every shape by itself.
loss_of = jax.jit(ctc_loss.ctc_loss)
greedy_decode = jax.jit(greedy.greedy_decode)


def _collapse(path: Sequence[int], blank: Any) -> tuple[Any, ...]:
    merged = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def _texts_by_brute_force(logits: Any) -> Any:
    """{label: probability}, a sum over all K^T paths of one example [T, K]."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        text = _collapse(path, p.shape[1] - 1)
        totals[text] = totals.get(text, 0) + math.prod(p[t, k] for t, k in enumerate(path))
    return totals


def test_loss_is_the_sum_over_all_paths() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)  # [T, K]
    totals = _texts_by_brute_force(logits.astype(np.float64))
    assert sum(totals.values()) == pytest.approx(1)
    texts = sorted(totals)  # of every length from 0 to T
    labels = np.full((len(texts), 5), -1, np.int32)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = text
    losses = loss_of(np.broadcast_to(logits, (len(texts), 5, 4)), labels)
    expected = [-math.log(totals[text]) for text in texts]
    # float32 log-sums over 5 steps
    np.testing.assert_allclose(losses, expected, rtol=2e-6, atol=2e-6)


def test_loss_of_a_label_that_fills_all_steps_is_one_path() -> None:
    # T = L without repeats: the only alignment is the label itself.
    logits = np.random.default_rng(1).normal(size=(1, 3, 5)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    label = [3, 0, 2]
    expected = -sum(log_p[0, t, k] for t, k in enumerate(label))
    losses = loss_of(logits, np.array([label], np.int32))
    np.testing.assert_allclose(losses, [expected], rtol=1e-6)


def test_an_impossible_label_costs_about_1e5_and_not_infinity() -> None:
    losses = loss_of(
        np.zeros((1, 2, 3), np.float32), np.array([[0, 0]], np.int32)
    )  # aa needs 3 steps
    loss = float(np.asarray(losses)[0])
    assert 1e4 < loss < 1e6


def _one_hot(path: Sequence[int], classes: Any) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[[path]] * 9  # [1, T, K]


# Classes: 0 a, 1 b, 2 blank. By hand.
@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("aa-a", [0, 0]),
        ("aaaa", [0]),
        ("----", []),
        ("a-b-", [0, 1]),
        ("ab-b", [0, 1, 1]),
        ("-aab", [0, 1]),
        ("abab", [0, 1, 0, 1]),
    ],
)
def test_greedy_decoder_by_hand(path: str, ids: Any) -> None:
    decoded = np.asarray(greedy_decode(_one_hot(["ab-".index(c) for c in path], 3)))
    assert decoded.shape == (1, 4)
    assert decoded[0].tolist() == ids + [-1] * (4 - len(ids))


def test_greedy_decoder_equals_merging_the_best_path_jitted_or_not() -> None:
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(50, 12, 4)))
    expected = [list(_collapse(row, 3)) for row in np.argmax(logits, -1)]
    for decode in (greedy.greedy_decode, jax.jit(greedy.greedy_decode)):
        rows = decode(logits).tolist()
        assert [row[: row.index(-1)] if -1 in row else row for row in rows] == expected


def test_decode_batch_predictions_reads_every_row_with_its_repeats() -> None:
    # The decoder loop of the reference iterated over the wrong tensor; 217 labels of the data set
    # have a repeat.
    alphabet = greedy.CAPTCHA_V2
    blank = len(alphabet)
    pred = np.full((2, 10, 20), 0.01)
    for t, k in enumerate([0, 0, blank, 0, 4, 4, blank, 9, 10, blank]):
        pred[0, t, k] = 0.8
    for t, k in enumerate([18, 17, 16, 15, 14, blank, blank, blank, blank, blank]):
        pred[1, t, k] = 0.8
    assert greedy.decode_batch_predictions(pred) == ["226de", "yxwpn"]


def test_decode_batch_predictions_refuses_another_alphabet() -> None:
    with pytest.raises(ConfigError, match="20"):
        greedy.decode_batch_predictions(np.zeros((1, 5, 21)))
    assert greedy.decode_batch_predictions(_one_hot([1, 2, 1], 3), alphabet="xy") == ["yy"]


def test_plateau_loss_is_the_best_constant_predictors() -> None:
    # All frames are equal and symbols equally likely: try blank probabilities one by one with the
    # training loss. Texts with and without repeats, of two lengths, and one without a symbol.
    steps, texts = 9, ["ab", "aa", "cab", "bbb", ""]
    labels = np.array([[0, 1, -1], [0, 0, -1], [2, 0, 1], [1, 1, 1], [-1] * 3], np.int32)
    blanks = np.linspace(0.01, 0.99, 99)
    frames = np.log(np.stack([(1 - blanks) / 3] * 3 + [blanks], axis=-1))  # [99, K]
    logits = np.repeat(frames[:, None], 5, axis=0).repeat(steps, axis=1)  # [99 * 5, T, K]
    losses = loss_of(logits.astype(np.float32), np.tile(labels, (99, 1)))
    best = np.asarray(losses).reshape(99, 5).mean(1).min()
    assert ctc_loss.plateau_loss(texts, steps, 3) == pytest.approx(float(best), rel=1e-5)
