import numpy as np
import pytest

from crnn_jax.charset import Charset, required_steps
from crnn_jax.errors import ConfigError


def test_derived_alphabet_is_sorted_whatever_the_order_of_the_texts() -> None:
    assert Charset.derive(["ba", "2c"]).alphabet == "2abc"
    assert Charset.derive(["2c", "ba"]).alphabet == "2abc"


def test_given_order_is_the_order_of_ids() -> None:
    assert Charset("ba").encode(["ab"]).tolist() == [[1, 0]]


def test_blank_is_last_and_there_is_no_unknown_class() -> None:
    # In the reference, [UNK] added a 21st class to 19 symbols.
    charset = Charset("2345678bcdefgmnpwxy")
    assert (charset.num_classes, charset.blank) == (20, 19)


@pytest.mark.parametrize(
    ("alphabet", "others"),
    [
        ("b2Ca", {"B": 0, "c": 2, "A": 3}),
        ("aAb", {"B": 2}),
        ("ßé", {"É": 1}),  # the capital of ß is SS
        ("s\u017f", {"S": 0}),  # the capital of s and of the long s
        ("0+", {}),
    ],
)
def test_letters_in_the_case_that_the_alphabet_lacks(alphabet: str, others: dict[str, int]) -> None:
    assert Charset(alphabet).missing_cases == others


def test_other_cases_have_the_classes_of_their_letters() -> None:
    assert Charset("b2Ca", other_cases="AB").classes_of_other_cases == (3, 0)
    for wrong in ("a", "2", "X"):
        with pytest.raises(ConfigError, match=f"'{wrong}' is not the other case of any letter"):
            Charset("b2Ca", other_cases=wrong)


def test_labels_are_padded_on_the_right_with_no_class() -> None:
    labels = Charset("abc").encode(["cab", "b", ""])
    np.testing.assert_array_equal(labels, [[2, 0, 1], [1, -1, -1], [-1, -1, -1]])


@pytest.mark.parametrize("text", ["", "a", "hello", "ÄÖ ß", "日本"])
def test_decode_reverses_encode(text: str) -> None:
    charset = Charset("".join(sorted(set(text + "xyz"))))
    assert charset.decode(charset.encode([text, "xyzxyz"])[0]) == text


def test_unknown_characters_are_named_once_and_sorted() -> None:
    assert Charset("abc").unknown("zazy") == "yz"


# Counted by hand: one step per symbol, and a blank between equal neighbors.
@pytest.mark.parametrize(
    ("text", "steps"), [("", 0), ("a", 1), ("ab", 2), ("aa", 3), ("aab", 4), ("aaa", 5), ("aba", 3)]
)
def test_required_steps(text: str, steps: int) -> None:
    assert required_steps(text) == steps


@pytest.mark.parametrize("alphabet", ["", "aba"])
def test_an_alphabet_is_a_set_of_symbols(alphabet: str) -> None:
    with pytest.raises(ConfigError):
        Charset(alphabet)
