"""What `decoding.decoder` accepts, and the readers that a decoder is for."""

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError
from crnn_jax.models import decoding

STEPS = 5
CHARSET = Charset("abc")


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({"beam": -1}, "a width up to 256, not -1"),
        ({"beam": 10**6}, "a width up to 256, not 1000000"),
        ({"beam": 2.5}, "`beam` must be a whole number, not 2.5"),
        ({"length": "4-5"}, "`length` must be a whole number, not '4-5'"),
        ({"length": (1, 2, 3)}, r"a pair \(shortest, longest\), not"),
        ({"merge": None}, "`case` and `merge` must be strings, not 'keep' and None"),
        ({"allowed": 5}, "`allowed` must be a string, or a list"),
        ({"length": 1, "allowed": [5]}, "`allowed` must be a string, or a list"),
        ({"beam": 4, "length": 2}, "cannot be combined"),
        ({"length": 6}, "from 1 to 5, the number of time steps"),
        ({"length": (3, 2)}, "the smaller number comes first, not 3 to 2"),
        ({"length": (4, 6)}, "from 1 to 5, the number of time steps, not 4 to 6"),
        ({"length": True}, "`length` must be a whole number, not True"),
        ({"beam": True}, "`beam` must be a whole number, not True"),
        ({"length": 0}, "not 0 to 0"),
        ({"length": 2, "allowed": ["a", "b", "c"]}, "3 positions"),
        ({"length": 2, "allowed": ["a", "xy"]}, "position 2: .* the alphabet has no 'xy'"),
        ({"length": 2, "allowed": ["a", ""]}, "position 2"),
    ],
)
def test_a_decoder_that_cannot_be_had_is_refused(wish: dict[str, Any], complaint: str) -> None:
    make = inspect.unwrap(decoding.decoder)  # users have no checks of types
    with pytest.raises(ConfigError, match=complaint):
        make(CHARSET, STEPS, **wish)


def test_numbers_of_numpy_are_numbers() -> None:
    """For example, the longest text of a pandas column."""
    made = decoding.decoder(CHARSET, STEPS, length=(np.int64(2), np.int32(3)))
    assert made == decoding.decoder(CHARSET, STEPS, length=(2, 3))
    assert decoding.decoder(CHARSET, STEPS, length=np.int64(2)) == decoding.decoder(
        CHARSET, STEPS, length=2
    )


@pytest.mark.parametrize(
    ("wish", "groups", "representatives"),
    [
        ({"merge": "aB"}, "'aB'", ()),
        ({"merge": "ab,0O,cC"}, "'0O', 'cC'", (0, 0, 2)),
        ({"case": "lower", "merge": "aA b"}, "", (0, 0, 2)),
        ({"case": "lower", "merge": "A0"}, "'a0'", ()),
    ],
)
def test_a_group_without_two_symbols_of_the_alphabet_is_reported(
    wish: dict[str, Any], groups: str, representatives: tuple[int, ...]
) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        made = decoding.decoder(CHARSET, STEPS, **wish)
    expected = (
        "`merge`: these groups have no effect, because the alphabet has fewer than two of their "
        f"symbols: {groups}"
    )
    assert [str(warning.message) for warning in found] == ([expected] if groups else [])
    assert made.representatives == representatives


@pytest.mark.parametrize(
    "wish", [{"merge": "ab"}, {"allowed": "ab"}, {"length": 2, "allowed": ["a", "b"]}]
)
def test_a_decoder_of_other_symbols_is_refused(wish: dict[str, Any]) -> None:
    """Also if there are as many of them, in another order."""
    made = decoding.decoder(Charset("abc"), STEPS, **wish)
    assert decoding.checked(made, Charset("abc"), STEPS) is made
    for other in ("acb", "xyz", "abcd", "ab"):
        with pytest.raises(ConfigError, match=r"of a reader with other symbols; .*reader\.decoder"):
            decoding.checked(made, Charset(other), STEPS)


def test_a_decoder_that_knows_no_symbols_is_for_any_reader() -> None:
    for made in (decoding.GREEDY, decoding.decoder(CHARSET, STEPS, length=2)):
        assert decoding.checked(made, Charset("xy"), 2) is made
    with pytest.raises(ConfigError, match=r"not 'b.png'; pass several images as a list"):
        decoding.checked("b.png", CHARSET, STEPS)
    with pytest.raises(ConfigError, match="at least 2 characters, but the reader has 1 time steps"):
        decoding.checked(made, CHARSET, 1)
