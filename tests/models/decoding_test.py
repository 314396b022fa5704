"""Decoders against all K ** T paths of small examples."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError
from crnn_jax.models import ctc_loss, decoding

STEPS, CLASSES = 5, 4  # symbols 0, 1, 2 and the blank 3


def _text(path, blank=CLASSES - 1):
    merged = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def _by_brute_force(logits):
    """Of one example [T, K]: {text: probability}, {text: that of its best path}."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sums: dict[tuple[int, ...], float] = {}
    maxima: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        probability = math.prod(p[t, k] for t, k in enumerate(path))
        text = _text(path, p.shape[1] - 1)
        sums[text] = sums.get(text, 0) + probability
        maxima[text] = max(maxima.get(text, 0), probability)
    return sums, maxima


def _texts(ids):
    return [tuple(k for k in row if k >= 0) for row in np.asarray(ids).tolist()]


@pytest.fixture(scope="module")
def examples():
    logits = np.random.default_rng(5).normal(size=(8, STEPS, CLASSES)) * 1.5
    return jnp.asarray(logits, jnp.float32), [_by_brute_force(example) for example in logits]


def test_a_beam_as_wide_as_there_are_texts_finds_them_all_in_order(examples):
    logits, expected = examples
    count = len(expected[0][0])
    ids, scores = jax.jit(decoding.beam_search, static_argnums=(1, 2))(logits, count, count)
    for rows, values, (sums, _) in zip(ids, scores, expected, strict=True):
        by_hand = sorted(sums, key=sums.get, reverse=True)
        assert _texts(rows) == by_hand
        np.testing.assert_allclose(np.exp(values), [sums[text] for text in by_hand], rtol=1e-5)


def test_a_narrow_beam_bounds_from_below_and_finds_the_best_here(examples):
    logits, expected = examples
    ids, scores = decoding.beam_search(logits, 8, 3)
    assert ids.shape == (8, 3, STEPS)
    found = 0
    for rows, values, (sums, _) in zip(ids, scores, expected, strict=True):
        texts = _texts(rows)
        assert len(set(texts)) == 3
        assert all(math.exp(v) <= sums[t] * (1 + 1e-5) for t, v in zip(texts, values, strict=True))
        found += texts[0] == max(sums, key=sums.get)
    assert found >= 7


def test_the_sum_over_alignments_beats_the_best_path():
    # Two steps, one symbol: P(a) = 1 - 0.6 * 0.6 = 0.64, though each step prefers the blank.
    logits = jnp.log(jnp.array([[[0.4, 0.6], [0.4, 0.6]]]))
    assert _texts(ctc_loss.greedy_decode(logits)) == [()]
    ids, scores = decoding.beam_search(logits, 2, 2)
    assert _texts(ids[0]) == [(0,), ()]
    np.testing.assert_allclose(np.exp(scores[0]), [0.64, 0.36], rtol=1e-5)


def test_a_search_with_fewer_texts_than_places_marks_the_rest():
    ids, scores = decoding.beam_search(jnp.zeros((1, 1, 2)), 4, 4)
    assert _texts(ids[0])[:2] in ([(0,), ()], [(), (0,)])
    assert np.isneginf(scores[0, 2:]).all()


@pytest.mark.parametrize(("shortest", "longest"), [(2, 2), (0, 1), (3, 3), (1, 4), (4, 5)])
def test_the_best_path_of_a_known_length_is_exact(examples, shortest, longest):
    logits, expected = examples
    ids, scores = jax.jit(decoding.best_path, static_argnums=(1, 2))(logits, shortest, longest)
    assert ids.shape == (8, longest)
    for text, score, (_, maxima) in zip(_texts(ids), scores, expected, strict=True):
        fitting = {t: p for t, p in maxima.items() if shortest <= len(t) <= longest}
        best = max(fitting, key=fitting.get)
        assert (text, math.exp(score)) == (best, pytest.approx(fitting[best], rel=1e-5))


def test_the_best_path_keeps_to_the_symbols_that_are_allowed(examples):
    logits, expected = examples
    allowed = np.array([[True, False, True], [False, True, True], [True, True, False]])
    ids, scores = decoding.best_path(logits, 1, 3, jnp.asarray(allowed))
    for text, score, (_, maxima) in zip(_texts(ids), scores, expected, strict=True):
        fitting = {
            t: p for t, p in maxima.items()
            if 1 <= len(t) <= 3 and all(allowed[n, k] for n, k in enumerate(t))
        }  # fmt: skip
        best = max(fitting, key=fitting.get)
        assert (text, math.exp(score)) == (best, pytest.approx(fitting[best], rel=1e-5))


def test_with_every_length_the_best_path_is_the_greedy_one():
    logits = jax.random.normal(jax.random.key(1), (50, 12, 4))
    ids, _ = decoding.best_path(logits, 0, 12)
    np.testing.assert_array_equal(ids, ctc_loss.greedy_decode(logits))


def test_one_symbol_alone_can_be_read():
    logits = jnp.log(jnp.array([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]]))
    ids, scores = decoding.best_path(logits, 2, 2)
    assert _texts(ids) == [(0, 0)]
    np.testing.assert_allclose(np.exp(scores), [0.9 * 0.2 * 0.7], rtol=1e-5)


def test_a_text_that_does_not_fit_is_not_found():
    ids, scores = decoding.best_path(jnp.zeros((1, 2, 3)), 3, 3)
    assert ids.tolist() == [[-1, -1, -1]]
    assert np.isneginf(scores).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda logits: decoding.beam_search(logits, 4, 5),
        lambda logits: decoding.best_path(logits, 3, 2),
        lambda logits: decoding.best_path(logits, 0, 0),
        lambda logits: decoding.best_path(logits, 1, 2, jnp.ones((3, 2), bool)),
    ],
)
def test_impossible_wishes_are_refused(call):
    with pytest.raises(ValueError, match=r"n_best|lengths|allowed"):
        call(jnp.zeros((1, 4, 3)))


CHARSET = Charset("abc")


def test_each_wish_finds_its_decoder(examples):
    logits, _ = examples
    for wish, ids in [
        ({}, ctc_loss.greedy_decode(logits)),
        ({"beam": 4}, decoding.beam_search(logits, 4, 1)[0][:, 0]),
        ({"length": 2}, decoding.best_path(logits, 2, 2)[0]),
        ({"length": (1, 3)}, decoding.best_path(logits, 1, 3)[0]),
        (
            {"length": 2, "allowed": "ac"},
            decoding.best_path(logits, 2, 2, jnp.array([[True, False, True]] * 2))[0],
        ),
        (
            {"allowed": ["a", "bc"]},
            decoding.best_path(
                logits, 2, 2, jnp.array([[True, False, False], [False, True, True]])
            )[0],
        ),
    ]:
        made = decoding.decoder(CHARSET, STEPS, **wish)
        np.testing.assert_array_equal(made(logits), ids)
        assert hash(made) == hash(decoding.decoder(CHARSET, STEPS, **wish))


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({"beam": -1}, "at least one prefix"),
        ({"beam": 4, "length": 2}, "cannot be combined"),
        ({"length": 6}, "from 1 to 5 characters"),
        ({"length": (3, 2)}, "not 3 to 2"),
        ({"length": 0}, "not 0 to 0"),
        ({"length": 2, "allowed": ["a", "b", "c"]}, "3 positions"),
        ({"length": 2, "allowed": ["a", "xy"]}, "'xy', allowed at 2"),
        ({"length": 2, "allowed": ["a", ""]}, "position 2"),
    ],
)
def test_a_decoder_that_cannot_be_had_is_refused(wish, complaint):
    with pytest.raises(ConfigError, match=complaint):
        decoding.decoder(CHARSET, STEPS, **wish)
