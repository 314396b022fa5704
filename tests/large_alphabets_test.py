"""Alphabets of thousands of symbols are never searched symbol by symbol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crnn_jax.charset import Charset, parse_folding
from crnn_jax.data import label_texts
from crnn_jax.models import decoding

LARGE = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000)))


class Unsearched(tuple[str, ...]):
    """Symbols that can be read from the start, at most `most` times, but not searched."""

    most = 2

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("the alphabet is searched")

    index = count = __contains__ = _refuse

    def __iter__(self) -> Any:
        self.most -= 1
        if self.most < 0:
            raise AssertionError("the alphabet is read again")
        return super().__iter__()


def _charset(symbols: str) -> Charset:
    charset = Charset(symbols)
    charset.__dict__["symbols"] = Unsearched(symbols)
    return charset


def test_ids_and_unknown_symbols_are_found_without_a_search() -> None:
    charset = _charset("cab")
    for _ in range(5):
        assert charset.encode(["abc", "b"]).tolist() == [[1, 2, 0], [2, -1, -1]]
        assert charset.unknown("zaz") == "z"
        assert charset.decode([0, 1]) == "ca"
        assert label_texts.complaint("ab", charset, 16) is None


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
    message = label_texts.complaint("a", Charset(LARGE), 16)
    assert message is not None
    assert "'a', not in the alphabet" in message
    assert len(message) < 500


@pytest.mark.parametrize("alphabet", ["ab", "0123456789abcdefghijklmnopqrstuvwxyz"])
def test_a_message_lists_a_small_alphabet(alphabet: str) -> None:
    message = label_texts.complaint("!", Charset(alphabet), 16)
    assert message is not None
    assert message.endswith(f"not in the alphabet '{alphabet}'")


def test_the_confusion_matrix_shows_sixty_symbols_those_that_are_confused_most() -> None:
    plots = pytest.importorskip("crnn_jax.analysis.plots")
    rare, often = LARGE[:59], LARGE[9_000:9_002]
    counts = {(rare[i], rare[i - 1]): 1 for i in range(59)} | {(often[0], often[1]): 5}
    counts |= {(symbol, symbol): 100 for symbol in LARGE[2_000:3_000]}  # read correctly
    # 61 symbols are confused: 59 of them twice, as truth and as reading, and two five times.
    assert plots.most_confused(counts, LARGE) == [*rare[:58], *often]
    images = [plots.confusion(counts, alphabet) for alphabet in (LARGE, LARGE[:60], LARGE[:50])]
    widths = [int.from_bytes(png[16:20], "big") for png in images]
    assert widths[0] == widths[1] > widths[2]
