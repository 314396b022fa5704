"""What looks wrong in labels from file names: some of the names, folders, dates and kinds."""

import random
import re
import uuid
from collections.abc import Sequence

import pytest

from crnn_jax.data import ending_report, label_report
from crnn_jax.data.listing import label_of
from crnn_jax.schema import label_pattern_fault

MIXED = ["".join(random.Random(k).choices("abcdefgh2345678", k=5)) for k in range(40)]
DIGITS = [f"{n:05d}" for n in random.Random(0).sample(range(100_000), 40)]
PAIRS = [(a, b) for a in range(1, 8) for b in range(1, 8)]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def warn(names: Sequence[str], pattern: str = "") -> list[str]:
    files = [f"{name}.png" for name in names]
    labels = [label_of(file, pattern) for file in files]
    return label_report.warnings(files, labels, True, pattern)


def drawn(k: int, symbols: str, size: int) -> str:
    return "".join(random.Random(k).choices(symbols, k=size))


@pytest.mark.parametrize(
    "names",
    [
        [f"train/{name}" for name in MIXED[:30]] + [f"test/{name}" for name in MIXED[30:]],
        [f"{name[0]}/{name}" for name in MIXED],  # sorted by the first character
        [f"train/{c}" for c in "abcdefghij"] + [f"test/{k}" for k in range(10)],  # an alphabet
        [*LETTERS[:26], *"0123456789"],
        [f"{a}\u2215{b}=\uff1f" for a, b in PAIRS],  # the signs that file names can have
        [f"{a}\u00d7{b}\uff1d" for a, b in PAIRS],
        [f"{a}+{b}_{a + b}" for a, b in PAIRS],
        [*(f"{k}x_{name}" for k, name in enumerate(MIXED)), *(f"{name}_1" for name in MIXED)],
        [f"{a} + {b}" for a, b in PAIRS],  # single characters
        [f"{c}_{font}_{k}" for c in "abc" for font in range(3) for k in range(3)],
        [*MIXED[:9], "image", "index"],  # words as long as the labels
        [f"{drawn(k, 'ABCD', 2)}{k % 2}_{k:016x}7" for k in range(40)],  # a hash after the label
        ["/".join(("abcd"[k % 4], f"{name}_{k}")) for k, name in enumerate(DIGITS)],
    ],
)
def test_right_names_give_no_warning(names: list[str]) -> None:
    assert warn(names) == []


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([str(k) for k in range(10)], "10 labels look like running numbers, such as 0.png is '0'"),
        ([f"{k:05d}" for k in range(40)], "40 labels look like running numbers"),
        (["1", "2", "3"], "3 labels look like running numbers"),
        ([f"test/{k}" for k in range(15)],
         "the names of the 15 images in test/ look like running numbers"),
        ([f"val/{k}" for k in range(4)], "the names of the 4 images in val/ look like running"),
        ([f"test/{drawn(k, '0123456789abcdef', 12)}" for k in range(10)],
         "in test/, the names look like random identifiers"),
        ([f"test/{k}_{name[::-1]}" for k, name in enumerate(MIXED)],
         "in test/, the names begin with an index before '_'"),
        ([drawn(k, "0123456789abcdef", 32) for k in range(6)], "6 labels are only the name of a"),
        ([str(uuid.UUID(int=random.Random(k).getrandbits(128))) for k in range(6)],
         "6 labels are only the name of a"),
        (["download", "captcha", "Untitled"], "3 labels are only the name of a file"),
        ([f"Screenshot 2023-01-0{k} at 10.11.1{k}" for k in range(1, 4)],
         "only 3 labels of 43 have one of the symbols"),
        ([f"download ({k})" for k in range(1, 4)], "3 labels have the mark of a copy"),
    ],
)  # fmt: skip
def test_names_without_a_label_among_labels_are_reported(others: list[str], said: str) -> None:
    """No pattern finds a label in them. With one, the warning would end, and not the fault."""
    (warning,) = warn([*MIXED, *others])
    assert warning.startswith(said)
    assert "label_pattern" not in warning
    assert "move images" in warning or "remove them" in warning


def test_numbered_folders_are_reported_for_labels_of_digits() -> None:
    """The rule for a part of the names does not see them."""
    (warning,) = warn([*(f"train/{name}" for name in DIGITS), *(f"test/{k}" for k in range(9))])
    assert "the 9 images in test/" in warning
    (warning,) = warn([*(f"old/{k}" for k in range(30)), *(f"new/{k}" for k in range(9))])
    assert "the 30 images in old/" in warning


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        (["{}-clean", "{}-noisy", "{}-blur"], "all labels end with 'blur' or 'clean' or 'noisy'"),
        (["{}.clean", "{}.noisy"], "all labels end with 'clean' or 'noisy' after '.'"),
        (["{}-a", "{}-b"], "all labels end with 'a' or 'b' after '-'"),
        (["{}A", "{}B"], "all labels end with 'A' or 'B', which may not be in the images"),
        (["train-{}", "test-{}"], "all labels begin with 'test' or 'train' before '-'"),
        (["red {}", "blue {}"], "all labels begin with 'blue' or 'red' before ' '"),
        (["red.{}", "blue.{}"], "all labels begin with 'blue' or 'red' before '.'"),
        (["2023-01-14_{}", "2023-01-15_{}", "2023-01-16_{}"], "the names begin with a date"),
        (["2022-10-14_{}", "2023-01-15_{}"], "the names begin with a date"),
        (["20221014-{}", "20230115-{}"], "the names begin with a date"),
        (["2023-01-14-10-11-13-{}", "2023-01-15-22-59-00-{}"], "the names begin with a date"),
        (["2023-01-14 10.11.13 {}_7", "2023-02-14 09.12.13 {}_8"], "the names begin with a date"),
    ],
)
@pytest.mark.parametrize("labels", [MIXED, DIGITS])
def test_kinds_and_dates_are_cut_from_the_label(
    forms: list[str], said: str, labels: list[str]
) -> None:
    each = [(form.format(label), label) for label in labels for form in forms]
    (warning,) = warn([name for name, _ in each])
    assert warning.startswith(said)
    pattern = warning.split("data.label_pattern='")[1].split("' (")[0]
    assert not label_pattern_fault(pattern)
    assert [label_of(f"{name}.png", pattern) for name, _ in each] == [text for _, text in each]
    assert warn([name for name, _ in each], pattern) == []


@pytest.mark.parametrize(
    "names",
    [
        [f"{'BM'[k % 2]}-AB{1000 + k * 577 % 9000}" for k in range(40)],  # number plates
        [f"{'BER' if k % 2 else 'HAM'}-{MIXED[k].upper()}" for k in range(40)],
    ],
)
def test_few_capitals_before_a_separator_are_no_kinds(names: list[str]) -> None:
    assert not any("begin with" in line for line in warn(names))


def test_dates_are_labels_if_only_a_number_is_after_them() -> None:
    names = [f"{2000 + k}-{k % 12 + 1:02}-{k % 28 + 1:02}_{k}" for k in range(30)]
    assert not any("begin with a date" in line for line in warn(names))


@pytest.mark.parametrize("separator", [" ", "-", ".", "_"])
def test_characters_with_a_separator_between_them_are_reported(separator: str) -> None:
    (warning,) = warn([separator.join(name) for name in MIXED])
    assert warning.startswith(f"all characters are separated by '{separator}', such as")


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([f"{a}+_{b}" for a, b in PAIRS], 49),
        ([f"{a}{'+_'[(a + b) % 2]}{b}=" for a, b in PAIRS], 24),  # the sum is odd
    ],
)
def test_a_sum_with_an_underscore_is_reported(names: list[str], count: int) -> None:
    (warning,) = warn(names)
    assert f"which is within a sum in {count} labels, such as" in warning


@pytest.mark.parametrize(
    "names",
    [
        [drawn(k, LETTERS + "0123456789", 21) for k in range(30)],  # nanoid
        ["01H" + drawn(k, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 23) for k in range(30)],  # ULID
        ["tmp" + drawn(k, "abcdefghijklmnopqrstuvwxyz0123456789_", 8) for k in range(30)],
    ],
)
def test_other_identifiers_are_random(names: list[str]) -> None:
    (warning,) = warn(names)
    assert warning.startswith("the names look like random identifiers")
    assert "--config" not in warning


@pytest.mark.parametrize(("others", "is_reported"), [(40, True), (45, True), (46, False)])
def test_labels_with_an_ending_are_reported_if_they_are_a_tenth(
    others: int, is_reported: bool
) -> None:
    labels = [drawn(k, "abcdefgh", 6) for k in range(others)]
    labels += [f"{label}-blur" for label in labels[:5]]
    found = ending_report.endings({f"{label}.png": label for label in labels})
    assert (found is not None) is is_reported


CLASSES = "0379hy"  # of single characters
CUT = [f"{name}_{c}" for name in MIXED for c in sorted(set(name))]


@pytest.mark.parametrize(
    ("names", "said", "meant"),
    [
        ([f"{c}-{k}-{name[1:]}{c}" for c in CLASSES for k, name in enumerate(MIXED)],
         "a counter between '-'", None),
        ([f"{'xz'[k % 2]}-{k // 2}-{name}" for k, name in enumerate(MIXED)],
         "a counter between '-'", MIXED),
        (CUT, "a text and one of its characters", [name[-1] for name in CUT]),
        ([f"{c}{k:05d}" for c in "1258" for k in range(1, 12)], "1 digit and a counter",
         [c for c in "1258" for _ in range(11)]),
        ([f"{c}{k:03d}" for c in "12" for k in range(1, 31)], "1 digit and a counter", None),
        ([*(f"CPT {k}" for k in range(1, 24)), *MIXED], "23 labels look like running numbers",
         None),
        ([f"{c}/{k}" for c in ["N", "y1", *"abcdefgh"] for k in range(130, 200, 7)],
         "number the images of each folder", None),
        ([f"{c}/letter{k}" for c in "0123456abc" for k in range(130, 200, 7)],
         "number the images of each folder", None),
        ([f"{c}/{k * 7919 + 10**8}" for c in "0123456abc" for k in range(10)],
         "number the images of each folder", None),
    ],
)  # fmt: skip
def test_sets_for_classifiers_are_reported(
    names: list[str], said: str, meant: list[str] | None
) -> None:
    (warning,) = warn(names)
    assert said in warning
    found = re.search(r"data\.label_pattern='(.+?)' \(", warning)
    assert (found is None) == (meant is None)
    if found and meant:
        assert [label_of(f"{name}.png", found[1]) for name in names] == meant


@pytest.mark.parametrize(
    "names",
    [
        [f"{size}/{'1' * (size - 4)}{name[:4]}" for size in (4, 5, 6) for name in DIGITS],
        [f"{name[-1]}/{name}" for name in MIXED],  # sorted by the last character
        [f"{a}{sign}{b}=_{a * 8 + b:04x}6d2f1b3c" for a, b in PAIRS for sign in "xX"],
        [f"{c}_0.{name}" for c in "abc2345678" for name in DIGITS[:9]],  # single characters
        [f"{name}_{c}" for name, c in zip(MIXED, "abcd" * 10, strict=True)],
        [f"{name}_{k}_{kind}" for name in MIXED[:10] for k, kind in enumerate(["a", "rot", "b"])],
        [f"{name}_{k}_{drawn(k, '0123456789abcdef', 16)}7" for name in MIXED[:9] for k in range(5)],
        [f"{k}/{n:06d}" for k in range(1, 11) for n in random.Random(k).sample(range(10**6), 20)],
    ],
)
def test_other_sets_give_no_warning(names: list[str]) -> None:
    assert warn(names) == []


def test_rare_letters_are_to_be_checked_and_not_renamed() -> None:
    numbers = random.Random(1).sample(range(100_000), 120)
    (warning,) = warn([*(f"A{n:05d}" for n in numbers), "Q12345"])
    assert warning.startswith("only 1 label of 121 has one of the symbols 'Q'")
    assert warning.endswith("; check these labels")


def test_marks_of_two_kinds_are_reported_if_most_labels_have_one() -> None:
    (warning,) = warn([f"{name}{('-a', '.b', '')[k % 3]}" for k, name in enumerate(MIXED)])
    assert warning.startswith("only 27 labels of 40 have one of the symbols '-.'")
