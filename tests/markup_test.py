"""What stands between a stranger's text and a page's markup."""

import pytest

from crnn_jax.markup import markdown


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("captcha-set v2.1", "captcha-set v2.1"),
        ("a|b", r"a\|b"),
        ("<img src=x>", "&#60;img src=x&#62;"),
        ("[a](http://b)", r"\[a\]\(http&#58;//b\)"),
        ("![a](b)", r"\!\[a\]\(b\)"),
        ("`*_~", r"\`\*\_\~"),
        ("&lt;", "&#38;lt;"),
        ("\\", r"\\"),
        ("a\nb\r\x00\u202e\u2028\ud800", r"a\\nb\\r\\x00\\u202e\\u2028\\ud800"),
        ("www.a.b", "www&#46;a.b"),
        ("@a", "&#64;a"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("    a", "a"),
        ("a" * 300, "a" * 197 + "..."),
        ("", ""),
    ],
)
def test_text_is_escaped(text, escaped):
    assert markdown(text) == escaped
