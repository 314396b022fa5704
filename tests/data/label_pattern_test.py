"""The patterns for labels in file names that a warning proposes."""

import random
import uuid

import pytest

from crnn_jax.data.listing import label_of
from crnn_jax.schema import label_pattern_fault
from tests.helpers.label_names import DIGITS, MIXED, SUMS, hashed, png, warn


def _some(names: list[str], *endings: str) -> list[str]:
    """Every third name with an ending."""
    return [name + endings[i // 3 % len(endings)] * (i % 3 == 0) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "said", "meant"),
    [
        (_some(DIGITS, " (1)", "(2)", " copy", " - Copy", " - Copy (2)", " copy 2"),
         "14 labels have the mark of a copy", DIGITS),
        (_some(MIXED, " - Kopie", " - copie", " - Copia (3)"), "have the mark of a copy", MIXED),
        (_some(DIGITS, ".png", ".jpg", ".PNG"), "14 labels end in the extension", DIGITS),
        ([f"Copy of {name}" if k % 9 == 0 else name for k, name in enumerate(MIXED)],
         "5 labels have the mark of a copy", MIXED),
        ([f"captcha_{name}" for name in MIXED], "40 images have the label 'captcha'", MIXED),
        ([f"img_{k:03d}_{name}" for k, name in enumerate(MIXED)],
         "40 images have the label 'img'", MIXED),
        ([f"{k:04d}_{name}" for k, name in enumerate(MIXED)], "begin with an index", MIXED),
        ([f"{k}_{name}" for k, name in enumerate(DIGITS)], "begin with an index", DIGITS),
        ([f"{k}-{a}-{b}" for k, (a, b) in enumerate(SUMS)], "index before '-'",
         [f"{a}-{b}" for a, b in SUMS]),
        ([f"{k:03d}-{a}+{b}=" for k, (a, b) in enumerate(SUMS)], "index before '-'",
         [f"{a}+{b}=" for a, b in SUMS]),
        ([f"{k:04d}_{name}_x" for k, name in enumerate(MIXED)], "begin with an index", MIXED),
        ([f"{k:04d}-{name}" for k, name in enumerate(MIXED)], "index before '-'", MIXED),
        ([f"{k} {name}" for k, name in enumerate(MIXED)], "index before ' '", MIXED),
        ([f"{k + 1700000000}_{name}" for k, name in enumerate(MIXED)], "begin with an ind", MIXED),
        ([f"{random.Random(k).getrandbits(64):016x}_{name}" for k, name in enumerate(MIXED)],
         "begin with an index", MIXED),
        ([f"{name}-{k}" for k, name in enumerate(MIXED)], "end with an index after '-'", MIXED),
        ([f"{name}.{k % 4}" for k, name in enumerate(MIXED)], "end with an index after '.'", MIXED),
        ([f"{name}-{hashed(k)}" for k, name in enumerate(MIXED)], "index after '-'", MIXED),
        ([f"{name}.{hashed(k, 32)}" for k, name in enumerate(MIXED)], "index after '.'", MIXED),
        ([f"{name}-{k + 1600000000}" for k, name in enumerate(MIXED)], "index after '-'", MIXED),
        ([f"{k}-{name}" for k, name in enumerate(DIGITS, 1)], "index before '-'", DIGITS),
        ([f"{name[:3]}-{k}" for k, name in enumerate(DIGITS)], "index after '-'",
         [name[:3] for name in DIGITS]),
        ([f"captcha_{name}_{uuid.UUID(hashed(k, 32))}" for k, name in enumerate(MIXED)],
         "40 images have the label 'captcha'", MIXED),
        ([f"{'easy' if k % 2 else 'hard'}_{name}" for k, name in enumerate(MIXED)],
         "the 40 images have only 2 different labels", MIXED),
        ([f"{'test' if k % 2 else 'train'}_{name}" for k, name in enumerate(MIXED)],
         "the 40 images have only 2 different labels", MIXED),
        ([f"captcha{name}" for name in MIXED], "all labels begin with 'captcha'", MIXED),
        ([f"{name}-label" for name in MIXED], "all labels end with '-label'", MIXED),
        ([f"[{name}]" for name in MIXED], "labels begin with '[' and end with ']'", MIXED),
        ([f"captcha-{name}-{k}" for k, name in enumerate(MIXED)], "begin with 'captcha-'", MIXED),
        ([f"site.com-{name}-202311{k:02d}" for k, name in enumerate(MIXED)],
         "labels begin with 'site.com-'", MIXED),
        ([f"img-{k}-{name}_7" for k, name in enumerate(MIXED)], "begin with 'img-'", MIXED),
        ([f"img{k}-{name}" for k, name in enumerate(MIXED)], "an index before '-'", MIXED),
        ([f"{'abcd'[k // 10]}{k % 10}-{name}" for k, name in enumerate(MIXED)],
         "an index before '-'", MIXED),
        ([f"Nr.{k} {name}" for k, name in enumerate(MIXED)], "an index before ' '", MIXED),
        ([f"({k}) {name}" for k, name in enumerate(MIXED)], "an index before ')'", MIXED),
        ([f"{k}. {name}" for k, name in enumerate(MIXED)], "an index before '.'", MIXED),
        ([f"{k}\u2013{name}" for k, name in enumerate(MIXED)], "before '\u2013'", MIXED),
        ([f"{k}-{name}_7" for k, name in enumerate(MIXED)], "an index before '-'", MIXED),
        ([f"{name} - {k}" for k, name in enumerate(MIXED)], "an index after '-'", MIXED),
        ([f"{k:04d}{name}" for k, name in enumerate(MIXED, 97)], "an index of 4 digits", MIXED),
        ([f"{name}{k:04d}" for k, name in enumerate(MIXED)], "an index of 4 digits", MIXED),
        ([f"captcha{k:02d}{name}" for k, name in enumerate(MIXED)], "with 'captcha'", MIXED),
        ([f"captcha1{name}" for name in DIGITS], "labels begin with 'captcha'",
         [f"1{name}" for name in DIGITS]),  # no prefix ends within a number
        ([f"0.{900 + 3 * k % 100}_{name}" for k, name in enumerate(MIXED[:30])],
         "labels begin with '0.9'", MIXED[:30]),
        ([f"img{k}_{name}" for k, name in enumerate(DIGITS)], "running numbers", DIGITS),
        ([f"captcha_{name}_{k}" for k, name in enumerate(MIXED)], "running numbers", MIXED),
        ([f"{a} + {b} = ({k})" for k, (a, b) in enumerate(SUMS)], "the mark of a copy",
         [f"{a} + {b} =" for a, b in SUMS]),
        ([f"{name}\uff08{k}\uff09" for k, name in enumerate(MIXED)], "mark of a copy", MIXED),
        ([f"{name}-{'ok' if k % 2 else 'fail'}" for k, name in enumerate(MIXED)],
         "all labels end with 'fail' or 'ok' after '-'", MIXED),
        ([*MIXED, *(f"{name}1" for name in MIXED[:12])], "12 labels are another label and a digit",
         [*MIXED, *MIXED[:12]]),
        ([f"<{name}>_{k % 3}" for k, name in enumerate(MIXED)], "with '<' and end with '>'", MIXED),
        ([f"{name}{end}" for name in MIXED[:20] for end in ("", "-blur", "-rot")],
         "40 labels are another label and an ending", [m for m in MIXED[:20] for _ in range(3)]),
        ([f"{name}#{name}"[:5] if k else f"{name}(" for k, name in enumerate(MIXED)],
         "only 1 label of 40 has one of the symbols '('", MIXED),
    ],
)  # fmt: skip
def test_names_that_are_not_labels_are_reported_with_a_pattern(
    names: list[str], said: str, meant: list[str]
) -> None:
    files = png(names)
    (warning,) = warn(files)
    assert said in warning
    assert "such as" in warning or "all 40 images" in warning
    assert len(names) == len(meant)
    pattern = warning.split("data.label_pattern='")[1].split("' (")[0]
    assert not label_pattern_fault(pattern)
    assert [label_of(file, pattern) for file in files] == meant
    assert warn(files, pattern) == []  # with the remedy nothing is left to warn of


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"[{name}] {k}" for k, name in enumerate(MIXED)], "end with an index after ' '"),
        ([f"img{k}[{name}]" for k, name in enumerate(MIXED)], "begin with 'img' and end with ']'"),
        ([f"{k}-label={name}" for k, name in enumerate(MIXED)], "an index before '-'"),
        ([f"{name} 2023-01-{k + 10} 10-11-12" for k, name in enumerate(MIXED[:20])], "after '-'"),
        ([f"Screenshot 2023-01-{k} at 10.11.{k}" for k in range(11, 31)], "index after '.'"),
        ([f"{'ABCDEF'[k % 6]}AB-{1000 + k * 577 % 9000}" for k in range(40)],
         "the names end with a number after '-'"),  # number plates, or labels with an index
        ([f"captcha_{name}-{k * 577 % 1000}" for k, name in enumerate(MIXED)],
         "all 40 images have the label 'captcha'"),  # the number can be in the images
        ([f"id{k}_label={name}" for k, name in enumerate(MIXED)], "look like running numbers"),
        ([f"1%2B{k}%3D" for k in range(1, 9)], "characters are written as codes in 8 labels"),
        ([f"#U4f60{name}" for name in MIXED], "codes in 40 labels"),
    ],
)  # fmt: skip
def test_a_pattern_that_does_not_find_the_label_is_not_proposed(
    names: list[str], said: str
) -> None:
    (warning,) = warn(png(names))
    assert said in warning
    assert "--config.data.label_pattern" not in warning


def test_a_pattern_that_cuts_names_is_not_replaced_by_one_that_cuts_them_elsewhere() -> None:
    """`^([^_]+)\\]` would find [abcde."""
    (warning,) = warn(png([f"[{name}]" for name in MIXED]), r"^\[([^_]+)")
    assert "all labels end with ']'" in warning
    assert "data.label_pattern='" not in warning
    assert "set data.label_pattern to a regular expression" in warning


def test_labels_of_a_pattern_are_checked_like_names() -> None:
    names = png([f"captcha-{name}-{k}" for k, name in enumerate(MIXED)])
    (warning,) = warn(names, r"^captcha-(.+)")
    assert "the names end with an index after '-'" in warning
    assert "data.label_pattern='" not in warning  # it would be for whole names
    plates = png([f"car_{'ABCDEF'[k % 6]}AB-{1000 + k * 577 % 9000}" for k in range(40)])
    assert warn(plates, "^car_(.+)") == []  # these numbers can be in the images
    plates = png(
        [f"car_{1000 + k * 577 % 9000}-{'ABCDEF'[k % 6]}{'UVWXYZ'[k // 7]}" for k in range(40)]
    )
    assert warn(plates, "^car_(.+)") == []


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("-", "only 6 labels of 30 have one of the symbols '-'"),
        (
            "_",
            "the label ends at the first underscore, which may stand for a character in 6 labels",
        ),
    ],
)
def test_a_mark_in_place_of_a_character_is_not_cut_off(mark: str, said: str) -> None:
    names = [name if k % 5 else f"{name[:2]}{mark}{name[3:]}" for k, name in enumerate(MIXED[:30])]
    (warning,) = warn(png(names))
    assert warning.startswith(said)
    assert warning.endswith("; rename these files by their texts, or remove them")
    right = [name[:2] if k % 9 == 0 else name for k, name in enumerate(names) if mark not in name]
    assert warn(png([f"{n}_1" if len(n) == 2 else n for n in right])) == []  # ab_1 of lengths 2, 5
