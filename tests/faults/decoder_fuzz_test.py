"""Odd options of a decoder: a decoder, or a ConfigError."""

import warnings
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError
from crnn_jax.models import decoding
from tests.helpers.fuzzing import check_message, fuzz

CHARSET = Charset("7abc")
COUNTS = st.sampled_from([-1, 0, 1, 2, 5, 16, 17, 10**9, 10**30])
SYMBOLS = st.text(st.sampled_from("abc7xé "), max_size=5)


@fuzz(300)
@given(
    COUNTS,
    st.none() | COUNTS | st.tuples(COUNTS, COUNTS),
    st.none() | SYMBOLS | st.lists(SYMBOLS, max_size=4),
    st.sampled_from(["keep", "lower", "upper", "Upper", ""]),
    st.text(st.sampled_from("abAB7, é\ud800"), max_size=6),
)
def test_decoders(beam: Any, length: Any, allowed: Any, case: Any, merge: Any) -> None:
    assume(beam <= 16)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of symbols that the alphabet lacks
            decoder = decoding.decoder(CHARSET, 16, beam, length, allowed, case, merge)
    except ConfigError as error:
        check_message(error)
        return
    assert 0 <= decoder.shortest <= decoder.longest <= 16
    assert all(any(row) for row in decoder.allowed)
    if decoder.longest:
        assert not beam
        if isinstance(length, int):
            assert (decoder.shortest, decoder.longest) == (length, length)
