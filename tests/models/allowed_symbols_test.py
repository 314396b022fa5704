"""Readers that may use some symbols only."""

from typing import Any

import jax
import numpy as np
import pytest

from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError
from crnn_jax.models import decoding

STEPS = 5


@pytest.mark.parametrize(
    ("wish", "symbols"),
    [
        ({"case": "upper", "allowed": "abc"}, "ABC"),
        ({"case": "lower", "allowed": "ABC"}, "abc"),
        ({"case": "lower", "allowed": "ac"}, "ac"),
        ({"merge": "cC", "allowed": "aC"}, "ac"),
        ({"allowed": "aC"}, "aC"),
    ],
)
def test_allowed_symbols_stand_for_what_they_are_read_as(
    wish: dict[str, Any], symbols: str
) -> None:
    charset = Charset("abcABC")
    made = decoding.decoder(charset, STEPS, length=2, **wish)
    assert made.allowed == (tuple(s in symbols for s in charset.alphabet),) * 2
    logits = np.random.default_rng(2).normal(size=(40, STEPS, 7)).astype(np.float32)
    ids = jax.jit(made.__call__)(logits)
    read = {charset.alphabet[k] for k in np.unique(ids).tolist() if k >= 0}
    assert read == set(symbols)


@pytest.mark.parametrize(
    ("allowed", "unknown", "used"),
    [
        ("a0b1", "01", [(True, True, False)] * 3),
        (
            ["a0", "1c", "b"],
            "01",
            [(True, False, False), (False, False, True), (False, True, False)],
        ),
    ],
)
def test_symbols_that_the_reader_lacks_are_left_out_with_a_word(
    allowed: Any, unknown: str, used: Any
) -> None:
    with pytest.warns(UserWarning, match=f"has no '{unknown}'; the other allowed symbols are used"):
        found = decoding.decoder(Charset("abc"), STEPS, length=3, allowed=allowed)
    assert found.allowed == tuple(used)


def test_symbols_that_the_reader_lacks_are_not_allowed_in_any_case() -> None:
    with pytest.warns(UserWarning, match="'x'"):
        found = decoding.decoder(Charset("aA"), STEPS, length=1, allowed="ax", case="lower")
    assert found.allowed == ((True, False),)
    with pytest.raises(ConfigError, match="position 1: it has no symbols; the alphabet has no 'x'"):
        decoding.decoder(Charset("aA"), STEPS, length=1, allowed="x", case="lower")
