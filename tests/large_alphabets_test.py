"""Alphabets of thousands of symbols are never searched symbol by symbol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crnn_jax.charset import Charset, parse_folding
from crnn_jax.data import label_files
from crnn_jax.models import decoding

LARGE = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000)))


class Unsearched(str):
    """A string that can be read from its start, at most `most` times, but not searched."""

    most = 2

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("the alphabet is searched")

    index = find = count = rfind = __contains__ = _refuse

    def __iter__(self) -> Any:
        self.most -= 1
        if self.most < 0:
            raise AssertionError("the alphabet is read again")
        return super().__iter__()


def _charset(symbols: str) -> Charset:
    charset = Charset("x")
    object.__setattr__(charset, "alphabet", Unsearched(symbols))
    return charset


def test_ids_and_unknown_symbols_are_found_without_a_search() -> None:
    charset = _charset("cab")
    for _ in range(5):
        assert charset.encode(["abc", "b"]).tolist() == [[1, 2, 0], [2, -1, -1]]
        assert charset.unknown("zaz") == "z"
        assert charset.decode([0, 1]) == "ca"
        assert label_files.complaint("ab", charset, 16) is None


def test_symbols_that_count_as_one_are_found_without_a_search() -> None:
    places = parse_folding("lower", "0o").representatives(Unsearched("Aao0B"))
    # A is read as a (1), o as 0 (3); B has no small letter here.
    assert places == (1, 1, 3, 3, 4)


def test_allowed_symbols_are_found_without_a_search() -> None:
    charset = _charset("cab")
    found = decoding.decoder(charset, 8, length=2, allowed=["ab", "c"])
    assert found.allowed == ((False, True, True), (True, False, False))


def test_ten_thousand_symbols_are_encoded_decoded_and_folded() -> None:
    charset = Charset(LARGE)
    assert charset.num_classes == 10_001
    np.testing.assert_array_equal(charset.encode([LARGE])[0], np.arange(10_000))
    assert charset.decode(range(10_000)) == LARGE
    assert parse_folding("lower", "").representatives(LARGE) == tuple(range(10_000))


def test_a_message_does_not_list_ten_thousand_symbols() -> None:
    message = label_files.complaint("a", Charset(LARGE), 16)
    assert message is not None
    assert "'a', not in the alphabet" in message
    assert len(message) < 500


@pytest.mark.parametrize("alphabet", ["ab", "0123456789abcdefghijklmnopqrstuvwxyz"])
def test_a_message_lists_a_small_alphabet(alphabet: str) -> None:
    message = label_files.complaint("!", Charset(alphabet), 16)
    assert message is not None
    assert message.endswith(f"not in the alphabet '{alphabet}'")
