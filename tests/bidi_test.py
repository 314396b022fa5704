"""The order of right-to-left text. Orders in images are derived by hand from UAX #9."""

import random
import sys

import numpy as np
import pytest

from crnn_jax import bidi, clusters
from crnn_jax.charset import Charset, required_steps
from crnn_jax.errors import ConfigError

# Typed text, and its characters in an image from left to right. In a right-to-left paragraph,
# right-to-left letters have level 1, and numbers and Latin letters level 2 (I1, I2), so that all
# is reversed and the runs of level 2 once more (L2).
ORDERS = [
    ("שלום", "םולש"),
    ("كتب", "بتك"),
    ("אב12גד", "דג12בא"),
    ("12אב", "בא12"),
    ("אב12", "12בא"),
    ("دبج١٢٣", "١٢٣جبد"),
    ("دب12", "12بد"),
    ("אבxyגד", "דגxyבא"),
    ("xyאב12", "12באxy"),
    ("אx1ב", "בx1א"),  # the digit goes with the letter before it (W7)
    ("א1-2", "1-2א"),  # a hyphen between European digits is part of the number (W4)
    ("د1-2", "2-1د"),  # but not after an Arabic letter, which makes them Arabic digits (W2)
    ("א(ב", "ב(א"),  # a bracket is mirrored in shape, not in the text
    ("אָב", "ב\u05b8א"),  # a mark stays a symbol beside its letter
    ("ab12", "ab12"),
    ("", ""),
]


@pytest.mark.parametrize(("typed", "image"), ORDERS)
def test_the_order_in_an_image_is_that_of_the_algorithm(typed: str, image: str) -> None:
    assert bidi.visual(typed) == image
    assert bidi.logical(image) == typed


@pytest.mark.parametrize(
    "symbols", ["אבגד", "אבג0123xyz", "دبج0123xyz", "دبج٠١٢٣", "دب۰۱", "אב01-./"]
)
def test_texts_of_letters_and_digits_come_back(symbols: str) -> None:
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choices(symbols, k=draw.randint(1, 8)))
        assert bidi.logical(bidi.visual(text)) == text
        assert sorted(bidi.visual(text)) == sorted(text)
        assert required_steps(bidi.visual(text)) == required_steps(text)


def test_texts_that_do_not_come_back_are_found() -> None:
    # In the image the number stands alone on the right, where its hyphen is no part of it:
    # 0 and 1 are Arabic digits only because of the letter that was typed before another number.
    assert clusters.changed(["אב", "+1+0دب", "xy"]) == ["+1+0دب"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["ab", "12-"], False),
        (["ab", "xא"], True),
        (["س"], True),
        (["١٢"], False),  # a number alone has one direction
        (["日本", "กข"], False),
        ([], False),
    ],
)
def test_only_letters_make_a_text_right_to_left(texts: list[str], expected: bool) -> None:
    assert bidi.has_right_to_left(texts) == expected


def test_ids_are_in_the_order_of_the_image() -> None:
    charset = Charset("12אבג", "rtl")
    labels = charset.encode(["אב12ג", "ג"])
    np.testing.assert_array_equal(labels, [[4, 0, 1, 3, 2], [4, -1, -1, -1, -1]])
    assert [charset.decode(row) for row in labels] == ["אב12ג", "ג"]
    # Unknown characters are left out after the text is in order.
    np.testing.assert_array_equal(charset.encode(["אxב"], skip_unknown=True), [[3, 2, -1]])


def test_a_direction_from_left_to_right_changes_nothing_and_needs_no_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bidi", None)  # an import of it fails
    charset = Charset("אב1")
    assert charset.encode(["אב1"]).tolist() == [[0, 1, 2]]
    assert charset.decode([0, 1, 2]) == "אב1"
    with pytest.raises(ConfigError, match=r"pip install 'crnn-jax\[bidi\]'.*data.direction=ltr"):
        Charset("אב1", "rtl").encode(["אב1"])
