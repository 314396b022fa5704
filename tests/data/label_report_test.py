"""The report on labels: what was understood, and what looks misread."""

import random
import uuid

import pytest

from crnn_jax.data import doubt, label_report, label_texts
from tests.helpers.label_names import DIGITS, MIXED, SUMS, hashed, png, warn


@pytest.mark.parametrize(
    "names",
    [
        DIGITS,
        MIXED,
        [f"{name}_{k % 3}" for k, name in enumerate(MIXED)],
        [f"{name}_{k}" for k, name in enumerate(DIGITS)],
        [f"{name}_{name[::-1]}" for name in MIXED],
        ["cat", "dog", "bird", "fish", "ant", "wolf"],
        DIGITS[:3],
        ["abc"],
        [f"日本{c}" for c in "東西南北中"],
        ["1-11", "10-6", "11-1", "12-7", "15-2", "18-19"],
        [f"{a}+{b}=" for a, b in SUMS],
        [f"{a}x{b}=?" for a, b in SUMS],
        [f"{a}+{b}" for a in range(10) for b in range(10)],
        [f"{a} - {b}" for a in range(7) for b in range(7)],
        [f"{a}{'+-x'[a % 3]}{b}" for a in range(7) for b in range(7)],
        [f"{a}+{b}_{a + b}" for a in range(7) for b in range(7)],
        [f"{a}-{b}" for a, b in SUMS],  # many differences of two digits and one
        [f"{a}-{b}-{a % 3}" for a, b in SUMS],
        ["3-1", "9-4", "4-3", "8-7", "5-2"],
        ["กิข", "ขก", "กขก", "ขิก", "กขข", "ขข"],  # a vowel that is a mark
        [f"{'😀😁😂'[k % 3]}{'😃😄😅'[k // 3]}" for k in range(9)],
        [f"{letter}{k}" for letter in "ab" for k in range(1, 10)],
        [f"{name}_{k}" for name in MIXED[:4] for k in range(6)],
        [f"{a}{b}" for a in "13579" for b in "02468"],
        [f"{a} + {b} =" for a, b in SUMS],
        [f"{a}+{b}" for a in range(1, 10) for b in range(1, 11)],  # 1+10 is 1+1 and a digit
    ],
)
def test_names_that_are_labels_give_no_warning(names: list[str]) -> None:
    assert warn(png(names)) == []


@pytest.mark.parametrize(
    "names",
    [
        [f"captcha{k}" for k in range(1, 41)],
        [f"{k:05d}" for k in range(40)],
        [str(k) for k in range(1, 41)],
        [f"img ({k})" for k in range(1, 41)],
        [f"Screenshot {k}" for k in range(7, 47)],
        [f"img_{k}" for k in range(40)],
        [str(1_690_000_000 + 7 * k) for k in range(40)],
        [f"frame-{k:04d}" for k in range(40)],
        [f"my_captcha_{k}" for k in range(40)],
        [str(k) for k in range(2000, 2040)],
        ["captcha", *(f"captcha ({k})" for k in range(1, 20))],
        ["Unnamed", *(f"Unnamed{k}" for k in range(1, 30))],
        [f"{batch}{k}" for batch in "ab" for k in range(1, 30)],
        [f"{batch}-{k}" for batch in ("old", "new") for k in range(1, 20)],
    ],
)
def test_running_numbers_are_no_labels(names: list[str]) -> None:
    (warning,) = warn(png(names))
    assert "running numbers" in warning
    assert names[0] in warning
    # A pattern can find nothing in a number.
    assert ("label_pattern" in warning) == names[0].startswith("my_captcha")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([str(uuid.UUID(int=random.Random(k).getrandbits(128))) for k in range(9)], "random ident"),
        ([f"{random.Random(k).getrandbits(128):032x}" for k in range(9)], "random identifiers"),
        ([f"{name}/{k}" for name in MIXED[:5] for k in range(4)], "the names of the folders"),
        ([f"{c}/img{k:03d}" for c in "ABC" for k in range(4)], "the names of the folders"),
        ([f"{name}/{kind}" for name in MIXED for kind in ("raw", "clean")], "same in each folder"),
        ([f"{k % 10}/{n}" for k, n in enumerate(range(50_000, 59_000, 377))], "of the folders"),
        ([f"{name}/{hashed(k)}" for k, name in enumerate(MIXED)], "random identifiers"),
        ([hashed(k, 12) for k in range(9)], "random identifiers"),
        ([f"{word}_{k}" for word in ("red", "blue") for k in range(12)], "only 2 different labels"),
    ],
)
def test_names_without_a_label_are_reported(names: list[str], said: str) -> None:
    (warning,) = warn(png(names))
    assert said in warning
    assert "labels.csv" in warning
    assert ("label_pattern" in warning) == ("only 2" in said)  # it is not searched in folders


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([f"captcha_{k}" for k in range(10)], "10 labels are only 'captcha', such as captcha_0"),
        ([f"captcha{k}" for k in range(10)], "10 labels look like running numbers, such as capt"),
        ([f"aug_{name}" for name in MIXED], "40 labels are only 'aug'"),
    ],
)
def test_names_without_a_label_among_others_are_reported(others: list[str], said: str) -> None:
    (warning,) = warn(png([*MIXED, *others]))
    assert warning.startswith(said)


def test_an_index_before_two_labels_is_reported() -> None:
    (warning,) = warn(["0000_2b4ch.png", "0001_a5cde.png"])
    assert "--config.data.label_pattern='^[^_]+_([^_]+)' (0000_2b4ch.png is '2b4ch')" in warning
    for right in (["12_1.png", "73_1.png"], ["0.png", "1.png"], ["0_1.png", "7_1.png"]):
        assert warn(right) == []


def test_letters_among_digits_are_reported() -> None:
    (warning,) = warn(png([*DIGITS, "12ab5"]))
    assert "only 1 label of 41 has one of the symbols 'ab', such as 12ab5.png" in warning


def test_label_files_are_checked_too() -> None:
    files = png([f"i{k}" for k in range(300)])
    labels = [f"{n:05d}" for n in random.Random(1).sample(range(100_000), 300)]
    assert label_report.warnings(files, labels, False) == []
    odd = ["1234.png", "12\u00a034", *labels[2:]]
    extension, symbol = label_report.warnings(files, odd, False)
    assert extension.startswith("1 label ends in the extension of an image, such as i0.png")
    assert "only 1 label of 299 has one of the symbols" in symbol
    (begin,) = label_report.warnings(files, [f"'{label}" for label in labels], False)
    assert begin.startswith("""all labels begin with "'", such as i0.png is""")
    short = [str(n) for n in (*range(1000, 1024), 203)]
    (zeros,) = label_report.warnings(files[:25], short, False)
    assert "none of the 25 labels begins with 0" in zeros


def test_symbols_that_cannot_be_seen_are_escaped_in_the_summary() -> None:
    (_, symbols, _) = label_report.summary(["a.png"], ["a\u00a0\u200d"])
    assert symbols == r"symbols by frequency: a:1 \xa0:1 \u200d:1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ab\u200bc", r"invisible character ('\u200b', ZERO WIDTH SPACE); remove it"),
        ("\u200eabc", r"('\u200e', LEFT-TO-RIGHT MARK)"),
        ("ab\ufeff", r"('\ufeff', ZERO WIDTH NO-BREAK SPACE)"),
        ("a\u200db", r"('\u200d', ZERO WIDTH JOINER)"),
        ("\u0645\u200c", r"('\u200c', ZERO WIDTH NON-JOINER)"),  # at the end, it joins nothing
        ("\u0645\u06cc\u200c\u062e", ""),  # Persian
        ("\u0915\u094d\u200d\u0937", ""),  # Hindi
        ("\u0d05\u0d35\u0d28\u0d4d\u200d", ""),  # a Malayalam chillu at the end
        ("\u0600\u0661", ""),  # the Arabic sign for a number can be seen
        ("a\x1b", r"control characters ('\x1b')"),
        ("日é\u0301", ""),
    ],
)
def test_characters_that_no_image_shows_are_refused(text: str, shown: str) -> None:
    for found in (label_texts.in_table(text), label_texts.complaint(text, None, 50)):
        assert shown in (found or "")
        assert bool(shown) == bool(found)


def test_the_summary_counts() -> None:
    lines = label_report.summary(["a.png", "b.png", "c.png"], ["112", "1 ", "23"])
    assert lines == [
        "labels: 3, 3 of them distinct, 2 to 3 characters long (2: 2, 3: 1)",
        "symbols by frequency: 1:3 2:2 ' ':1 3:1",
        "examples: a.png is '112', b.png is '1 ', c.png is '23'",
    ]
    many = "".join(chr(0x4E00 + k) for k in range(1000))
    lines = label_report.summary(["a.png"], [many])
    assert len("".join(lines)) < 2500
    assert lines[1].endswith(f"{many[39]}:1 and 960 more")
    labels = ["a" * n for n in range(1, 14)]
    lines = label_report.summary([f"{'x' * 100}.png"] * 13, labels)
    assert lines[0].endswith("11: 1, 12: 1, ...)")
    # The beginning and the end of a long name; the label can be in either.
    assert doubt.example_of(f"{'y' * 40}/{'x' * 50}.png", "a") == f"yyyyy/{'x' * 50}.png is 'a'"
    assert lines[2].startswith(f"examples: {'x' * 28}...{'x' * 25}.png is 'a', ")
