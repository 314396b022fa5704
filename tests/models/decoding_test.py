"""Decoders compared with all K ** T paths of small examples."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.charset import Charset
from crnn_jax.inference import evaluate
from crnn_jax.models import alignment, beam_search, best_path, ctc_loss, decoding, greedy

STEPS, CLASSES = 5, 4  # symbols 0, 1, 2 and the blank 3

# Compiled as one program each: eager code would compile every operation of every shape by itself.
beam_search_of = jax.jit(beam_search.beam_search, static_argnums=(1, 2))
best_path_of = jax.jit(best_path.best_path, static_argnums=(1, 2))
greedy_of = jax.jit(greedy.greedy_decode)
decode = jax.jit(evaluate.decode, static_argnums=2)


@functools.partial(jax.jit, static_argnums=0)
def read_with(made: decoding.Decoder, logits: jax.Array) -> jax.Array:
    return made(logits)


def _text(path: Sequence[int], blank: Any = CLASSES - 1) -> tuple[Any, ...]:
    merged = [k for k, _ in itertools.groupby(path)]
    return tuple(k for k in merged if k != blank)


def _by_brute_force(logits: Any) -> tuple[Any, Any]:
    """For one example [T, K]: {text: probability}, {text: that of its best path}."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sums: dict[tuple[int, ...], float] = {}
    maxima: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        probability = math.prod(p[t, k] for t, k in enumerate(path))
        text = _text(path, p.shape[1] - 1)
        sums[text] = sums.get(text, 0) + probability
        maxima[text] = max(maxima.get(text, 0), probability)
    return sums, maxima


def _texts(ids: Any) -> list[Any]:
    return [tuple(k for k in row if k >= 0) for row in np.asarray(ids).tolist()]


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, list[Any]]:
    logits = np.random.default_rng(5).normal(size=(8, STEPS, CLASSES)) * 1.5
    return logits.astype(np.float32), [_by_brute_force(example) for example in logits]


def test_a_beam_as_wide_as_there_are_texts_finds_them_all_in_order(
    examples: tuple[np.ndarray, list[Any]],
) -> None:
    logits, expected = examples
    count = len(expected[0][0])
    ids, scores = jax.device_get(beam_search_of(logits, count, count))
    for rows, values, (sums, _) in zip(ids, scores, expected, strict=True):
        by_hand = sorted(sums, key=sums.get, reverse=True)
        assert _texts(rows) == by_hand
        np.testing.assert_allclose(np.exp(values), [sums[text] for text in by_hand], rtol=1e-5)


def test_a_narrow_beam_bounds_from_below_and_finds_the_best_here(
    examples: tuple[np.ndarray, list[Any]],
) -> None:
    logits, expected = examples
    ids, scores = jax.device_get(beam_search_of(logits, 8, 3))
    assert ids.shape == (8, 3, STEPS)
    found = 0
    for rows, values, (sums, _) in zip(ids, scores, expected, strict=True):
        texts = _texts(rows)
        assert len(set(texts)) == 3
        assert all(math.exp(v) <= sums[t] * (1 + 1e-5) for t, v in zip(texts, values, strict=True))
        found += texts[0] == max(sums, key=sums.get)
    assert found >= 7


def test_the_sum_over_alignments_beats_the_best_path() -> None:
    # Two steps, one symbol: P(a) = 1 - 0.6 * 0.6 = 0.64, though each step prefers the blank.
    logits = np.log(np.array([[[0.4, 0.6], [0.4, 0.6]]], np.float32))
    assert _texts(greedy_of(logits)) == [()]
    ids, scores = jax.device_get(beam_search_of(logits, 2, 2))
    assert _texts(ids[0]) == [(0,), ()]
    np.testing.assert_allclose(np.exp(scores[0]), [0.64, 0.36], rtol=1e-5)


def test_a_search_with_fewer_texts_than_places_marks_the_rest() -> None:
    ids, scores = jax.device_get(beam_search_of(np.zeros((1, 1, 2), np.float32), 4, 4))
    assert _texts(ids[0])[:2] in ([(0,), ()], [(), (0,)])
    assert np.isneginf(scores[0, 2:]).all()


@pytest.mark.parametrize(("shortest", "longest"), [(2, 2), (0, 1), (3, 3), (1, 4), (4, 5)])
def test_the_best_path_of_a_known_length_is_exact(
    examples: tuple[np.ndarray, list[Any]], shortest: int, longest: int
) -> None:
    logits, expected = examples
    ids, scores = jax.device_get(best_path_of(logits, shortest, longest))
    assert ids.shape == (8, longest)
    for text, score, (_, maxima) in zip(_texts(ids), scores, expected, strict=True):
        fitting = {t: p for t, p in maxima.items() if shortest <= len(t) <= longest}
        best = max(fitting, key=lambda text: fitting[text])
        assert (text, math.exp(score)) == (best, pytest.approx(fitting[best], rel=1e-5))


def test_the_best_path_keeps_to_the_symbols_that_are_allowed(
    examples: tuple[np.ndarray, list[Any]],
) -> None:
    logits, expected = examples
    allowed = np.array([[True, False, True], [False, True, True], [True, True, False]])
    ids, scores = jax.device_get(best_path_of(logits, 1, 3, allowed))
    for text, score, (_, maxima) in zip(_texts(ids), scores, expected, strict=True):
        fitting = {
            t: p for t, p in maxima.items()
            if 1 <= len(t) <= 3 and all(allowed[n, k] for n, k in enumerate(t))
        }  # fmt: skip
        best = max(fitting, key=lambda text: fitting[text])
        assert (text, math.exp(score)) == (best, pytest.approx(fitting[best], rel=1e-5))


def test_with_every_length_the_best_path_is_the_greedy_one() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 12, 4)).astype(np.float32)
    ids, _ = best_path_of(logits, 0, 12)
    np.testing.assert_array_equal(ids, greedy_of(logits))


def test_one_symbol_alone_can_be_read() -> None:
    logits = np.log(np.array([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]], np.float32))
    ids, scores = best_path_of(logits, 2, 2)
    assert _texts(ids) == [(0, 0)]
    np.testing.assert_allclose(np.exp(scores), [0.9 * 0.2 * 0.7], rtol=1e-5)


def test_a_text_that_does_not_fit_is_not_found() -> None:
    ids, scores = best_path_of(np.zeros((1, 2, 3), np.float32), 3, 3)
    assert ids.tolist() == [[-1, -1, -1]]
    assert np.isneginf(scores).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda logits: beam_search.beam_search(logits, 4, 5),
        lambda logits: best_path.best_path(logits, 3, 2),
        lambda logits: best_path.best_path(logits, 0, 0),
        lambda logits: best_path.best_path(logits, 1, 2, jnp.ones((3, 2), bool)),
    ],
)
def test_impossible_wishes_are_refused(call: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"n_best|lengths|allowed"):
        call(jnp.zeros((1, 4, 3)))


CHARSET = Charset("abc")


def test_each_wish_finds_its_decoder(examples: tuple[np.ndarray, list[Any]]) -> None:
    logits, _ = examples
    wishes: list[tuple[dict[str, Any], jax.Array]] = [
        ({}, greedy_of(logits)),
        ({"beam": 4}, beam_search_of(logits, 4, 1)[0][:, 0]),
        ({"length": 2}, best_path_of(logits, 2, 2)[0]),
        ({"length": (1, 3)}, best_path_of(logits, 1, 3)[0]),
        (
            {"length": 2, "allowed": "ac"},
            best_path_of(logits, 2, 2, np.array([[True, False, True]] * 2))[0],
        ),
        (
            {"allowed": ["a", "bc"]},
            best_path_of(logits, 2, 2, np.array([[True, False, False], [False, True, True]]))[0],
        ),
    ]
    for wish, ids in wishes:
        made = decoding.decoder(CHARSET, STEPS, **wish)
        np.testing.assert_array_equal(read_with(made, logits), ids)
        assert hash(made) == hash(decoding.decoder(CHARSET, STEPS, **wish))


def _merged(logits: Any, representatives: Any) -> tuple[Any, Any]:
    """For one example [T, K]: {text: probability}, {text: that of its best path}, by brute force.

    A path consists of merged classes, whose probabilities are added in each step first.
    """
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    kept = sorted({*representatives, len(representatives)})
    added = np.array([
        [sum(step[k] for k, r in enumerate([*representatives, len(representatives)]) if r == own)
         for own in kept]
        for step in p
    ])  # fmt: skip
    sums, maxima = _by_brute_force(np.log(added))
    back = [{tuple(kept[k] for k in text): v for text, v in d.items()} for d in (sums, maxima)]
    return back[0], back[1]


def test_two_cases_of_a_letter_outweigh_another_letter() -> None:
    """Greedy decoding reads b; a and A together have 0.6. Two steps; classes a, A, b, blank."""
    p = np.array([[[0.3, 0.3, 0.35, 0.05], [0.1, 0.05, 0.05, 0.8]]])
    logits = np.log(p.astype(np.float32))
    charset = Charset("aAb")
    read = {case: decoding.decoder(charset, 2, case=case) for case in ("keep", "lower", "upper")}
    assert {case: _texts(read_with(made, logits)) for case, made in read.items()} == {
        "keep": [(2,)], "lower": [(0,)], "upper": [(1,)]
    }  # fmt: skip
    # P("a") = 0.6 * 0.8 + 0.05 * 0.15 + 0.6 * 0.15
    _, log_p = decode(logits, 1.0, read["lower"])
    assert math.exp(log_p[0]) == pytest.approx(0.5775, rel=1e-5)


@pytest.mark.parametrize(
    ("wish", "representatives"),
    [({"case": "lower"}, (0, 0, 2)), ({"case": "upper"}, (1, 1, 2)), ({"merge": "7aA"}, (0, 0, 2)),
     ({"merge": "bA"}, (0, 2, 2)), ({"case": "lower", "merge": "Ba"}, (2, 2, 2))],
)  # fmt: skip
def test_decoders_see_merged_classes(
    examples: tuple[np.ndarray, list[Any]],
    wish: dict[str, Any],
    representatives: tuple[int, int, int],
) -> None:
    logits, _ = examples
    charset, temperature = Charset("aAb"), 1.7
    count = 4
    by_beam = decoding.decoder(charset, STEPS, beam=64, **wish)
    by_length = decoding.decoder(charset, STEPS, length=2, **wish)
    ids, log_p = jax.device_get(decode(logits, temperature, by_beam))
    read = _texts(read_with(by_length, logits))
    for n in range(count):
        _, maxima = _merged(logits[n], representatives)
        (text,) = _texts(ids[n : n + 1])
        warm, _ = _merged(logits[n] / temperature, representatives)
        assert text == max(warm, key=warm.get)
        assert math.exp(log_p[n]) == pytest.approx(warm[text], rel=1e-4)
        fitting = {t: p for t, p in maxima.items() if len(t) == 2}
        assert read[n] == max(fitting, key=lambda text: fitting[text])


def test_groups_of_unequal_size_are_merged_each_by_itself() -> None:
    """0 has 0.1, and O adds 0.2; 1 has 0.3, and I and l add 0.1 each. The blank keeps 0.2."""
    p = np.array([[[0.1, 0.2, 0.3, 0.1, 0.1, 0.2]]])
    made = decoding.decoder(Charset("0O1Il"), 1, merge="0O,1Il")
    found = jax.jit(lambda logits: made.merged(logits))(np.log(p.astype(np.float32)))
    np.testing.assert_allclose(np.exp(found[0, 0]), [0.3, 0, 0.5, 0, 0, 0.2], rtol=1e-5)


def test_no_path_of_a_known_length_goes_around_a_merge() -> None:
    """Text aa needs three steps, with a blank; aA needs two, but merged it is one letter."""
    made = decoding.decoder(Charset("aA"), 2, length=2, case="lower")
    assert read_with(made, np.zeros((1, 2, 3), np.float32)).tolist() == [[-1, -1]]


def test_without_a_merge_the_program_is_that_of_the_formulas() -> None:
    logits = np.random.default_rng(3).normal(size=(4, STEPS, CLASSES)).astype(np.float32)

    def by_hand(logits: Any, temperature: Any) -> tuple[Any, Any]:
        ids = greedy.greedy_decode(logits)
        return ids, jnp.minimum(-ctc_loss.ctc_loss(logits / temperature, ids), 0)

    # The alphabet has neither both cases of a letter nor symbols of the group: nothing is merged.
    wishes: tuple[dict[str, Any], ...] = (
        {},
        {"case": "keep", "merge": ""},
        {"case": "upper"},
    )
    for wish in wishes:
        made = decoding.decoder(CHARSET, STEPS, **wish)
        assert made == decoding.GREEDY
        assert hash(made) == hash(decoding.GREEDY)
        programs = [
            str(jax.make_jaxpr(f)(logits, 2.0))
            for f in (by_hand, lambda x, t, made=made: evaluate.decode(x, t, made))
        ]
        assert programs[0] == programs[1]


def test_the_best_path_of_a_length_is_the_same_with_64_bits() -> None:
    logits = jnp.float32(np.random.default_rng(0).normal(size=(3, 12, 6)))
    expected = jax.jit(lambda x: best_path.best_path(x, 2, 4))(logits)
    labels = jnp.int32([[0, 1, -1], [2, 2, 3], [4, -1, -1]])
    aligned = alignment.align(logits, labels)
    jax.config.update("jax_enable_x64", True)
    try:
        found = jax.jit(lambda x: best_path.best_path(x, 2, 4))(logits)
        np.testing.assert_array_equal(alignment.align(logits, labels), aligned)
    finally:
        jax.config.update("jax_enable_x64", False)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
