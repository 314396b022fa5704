"""What looks wrong in the labels of label files. The images are not needed."""

import random

import pytest

from crnn_jax.data import label_report

MIXED = ["".join(random.Random(k).choices("abcdefgh2345678", k=5)) for k in range(40)]


def png(names: list[str]) -> list[str]:
    return [f"{name}.png" for name in names]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["2x\u0430", "2xa", "43x"], "1 label mixes Latin letters with others that look like them"),
        (["\uff11\uff12", "12"], "'1' (DIGIT ONE), '\uff11' (FULLWIDTH DIGIT ONE) and '2'"),
        (["\u0661", "\u06f1"], "(ARABIC-INDIC DIGIT ONE), '\u06f1' (EXTENDED ARABIC-INDIC DIGIT"),
        (["ab\u00a0c"], "some labels have an unusual space character: '\\xa0' (NO-BREAK SPACE)"),
        (["a&amp;b", "cd"], "characters are written as codes in 1 label, such as 0.png is"),
        (["ht\\nmv"] + [f"{n}\\t{n}" for n in range(4)], "codes in 5 labels, such as 0.png is"),
        (["ht<br>mv", "ab<BR/>cd"], "characters are written as codes in 2 labels, such as 0.png"),
        (["a\\nb", "b3"], ""),  # the signs are symbols of their own
        (["\\nu", "\\tau", "\\rho", "\\nu1", "\\to", "\\alpha"], ""),
        (["a<b>c"] * 6 + ["1"] * 6, ""),
        (["a&b", "c&amp;d"], ""),  # the sign is a symbol of its own
        (["\u0434\u0441", "\u0441\u0442"], ""),  # Cyrillic alone
        (["\u4e00", "1"], ""),  # a Chinese one does not look like 1
    ],
)
def test_symbols_that_look_alike_are_reported(words: list[str], said: str) -> None:
    labels = {f"{k}.png": word for k, word in enumerate(words)}
    found = label_report.warnings(list(labels), list(labels.values()), False)
    assert len(found) == bool(said)
    assert all(said in line for line in found)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["f0.5"] * 40, "file names look like texts, and 40 of 40 differ"),
        ([f"user{k}" for k in range(40)], "such as {0}.png is 'user0', {1}.png is 'user1'; if the"),
        ([name[::-1] for name in MIXED], "look like texts"),  # misread
        (MIXED, ""),
        ([f"{name[:2]}-{name[2:]}".upper() for name in MIXED], ""),  # as far as a name can say
        ([name if k else "xxxxx" for k, name in enumerate(MIXED)], ""),  # a name was wrong
    ],
)
def test_a_file_that_contradicts_correct_names_is_reported(labels: list[str], said: str) -> None:
    found = label_report.warnings(png(MIXED), labels, False)
    assert any(said.format(*MIXED) in line for line in found) or not said
    assert any("look like texts" in line for line in found) == bool(said)
    hashes = [f"{random.Random(k).getrandbits(28):07x}7" for k in range(40)]
    for names in ([str(k) for k in range(40)], hashes, [str(k * k * k + 99) for k in range(40)]):
        assert not any("texts" in line for line in label_report.warnings(names, MIXED, False))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["unlabeled"] * 9, "all 9 images have the label 'unlabeled'"),
        (["ok", "bad"] * 10, "the 20 images have only 2 different labels"),
        ([f"{k % 3} {name}" for k, name in enumerate(MIXED)], "all labels have 2 words, one of"),
        (
            [f"ok {k},{k * 7},9 AT {name}" for k, name in enumerate(MIXED)],
            "all labels have 4 words",
        ),
        (
            [f"{name} 0.{90 + k % 9}" for k, name in enumerate(MIXED)],
            "all labels end with a number",
        ),
        ([" ".join(name) for name in MIXED], "all characters are separated by ' '"),
        ([*MIXED[:30], MIXED[30] * 2], "all labels but one have 5 characters: i30.png is"),
        ([*MIXED[:30], "d2"], "all labels but one have 5 characters: i30.png is 'd2'; check"),
        (["cat", "horse", "mouse", "tiger", "zebra"] * 3 + ["lion"], ""),  # 3, 4 and 5 characters
        ([f"{name[:2]} {name[2:]}" for name in MIXED], ""),
        (
            [
                f"{name[:2]} {name[2:]}"
                for k, name in enumerate(MIXED[:9])
                for _ in range(k % 4 + 1)
            ],
            "",
        ),
        ([f"{k} {k * 7 % 40}" for k in range(40)], ""),
        (
            [" ".join(["5", *map(str, map(ord, name[k % 2 :]))]) for k, name in enumerate(MIXED)],
            "all labels are lists of numbers",
        ),
        ([" ".join(str(10 + (k * j) % 90) for j in range(1, 5)) for k in range(9, 40)], ""),
        ([str(k % 10) for k in range(40)], ""),
    ],
)
def test_labels_that_are_not_texts_are_reported(labels: list[str], said: str) -> None:
    found = label_report.warnings(png([f"i{k}" for k in range(len(labels))]), labels, False)
    assert len(found) == bool(said)
    assert all(line.startswith(said) for line in found)


def test_right_labels_of_images_with_random_names_give_no_warning() -> None:
    draw = random.Random(0)
    names = png(["".join(draw.choices("abcdefgh2345678ABC", k=7)) for _ in range(100)])
    digits = [str(draw.randint(1000, 9999)) for _ in names]
    plates = [f"{draw.randint(100, 9999)} {''.join(draw.choices('ABC', k=3))}" for _ in names]
    dates = [f"{draw.randint(1990, 2024)}-07-{draw.randint(10, 28)}" for _ in names]
    sums = [f"{draw.randint(1, 99)}+{draw.randint(1, 99)}=" for _ in names]
    for labels in (digits, plates, dates, sums):
        assert label_report.warnings(names, labels, False) == []


@pytest.mark.parametrize(
    "mark", ["?", "*", "---", "nan", "N/A", "Unknown", "TODO", "xxxx", "#VALUE!", "#DIV/0!"]
)
def test_a_frequent_mark_among_different_labels_is_reported(mark: str) -> None:
    files = png([f"i{k}" for k in range(40)])
    labels = [mark if k % 4 == 1 else name for k, name in enumerate(MIXED)]
    (warning,) = label_report.warnings(files, labels, False)
    assert warning.startswith(f"10 labels are '{mark}', such as that of i1.png, and nearly all")
    sums = [mark if k % 4 == 1 else "+-*"[k % 3] for k in range(40)]  # as often as others
    words = ["The" if k % 4 == 1 else f"w{'abcdefg'[k % 7]}{'hijklm'[k % 6]}" for k in range(40)]
    for right in (sums, words):
        assert not any("labels are" in w for w in label_report.warnings(files, right, False))


@pytest.mark.parametrize(
    ("form", "marks"),
    [
        ("{}/{}", "/"),
        ("{} or {}", " "),
        ("{}?", "?"),
        ("*{}", "*"),
        ("{}  # unsure", " #"),
        ("{}'s", ""),  # a word
        ("3+4=", ""),  # a sum
        ("{:.4}@", ""),  # as long as the others: of the alphabet
    ],
)
def test_marks_in_few_labels_are_reported(form: str, marks: str) -> None:
    labels = [form.format(name, name) if k % 5 == 0 else name for k, name in enumerate(MIXED)]
    found = label_report.warnings(png([f"i{k}" for k in range(40)]), labels, False)
    assert len(found) == bool(marks)
    said = f"only 8 labels of 40 have one of the symbols '{marks}', such as i0.png"
    assert all(line.startswith(said) and "check these labels" in line for line in found)


def test_labels_that_lost_the_case_of_the_names_are_reported() -> None:
    names = [f"{name[0].upper()}{name[1:]}" for name in MIXED]
    both = sum(name[:1].isupper() for name in names)
    (warning,) = label_report.warnings(png(names), MIXED, False)
    assert warning.startswith(f"{both} labels have lost the case of the file names, such as")
    assert label_report.warnings(png(names), names, False) == []
    assert label_report.warnings(png([n.upper() for n in MIXED]), MIXED, False) == []
    # Half of the names have capitals alone, and the others none.
    names = [n.upper() if k % 2 else n for k, n in enumerate(MIXED)]
    capitals = sum(n != low for n, low in zip(names, MIXED, strict=True))
    (warning,) = label_report.warnings(png(names), MIXED, False)
    assert warning.startswith(f"{capitals} labels have lost the case of the file names, such as")


def test_labels_that_lost_the_zeros_of_the_names_are_reported() -> None:
    names = [f"{n * n * n % 7919:04d}" for n in range(1, 41)]  # with 0001, 0008, 0027, 0064, ...
    labels = [name.lstrip("0") for name in names]
    labels[20] = names[20]  # one was entered later
    lost = sum(name[0] == "0" for k, name in enumerate(names) if k != 20)
    assert lost > 5
    found = label_report.warnings(png(names), labels, False)
    what = f"{lost} labels have lost the zeros of the file names, such as 0001.png is '1', 0008.png"
    assert [line.startswith(what) for line in found if "file names" in line] == [True]
    drawn = [str(n % 10) for n in range(1, 41)]  # 0001.png is 1 by chance
    counted = [f"{n:02d}" for n in range(40)]  # 07.png shows 7
    for files, right in (
        (names, names), (names, drawn), (counted, [str(int(n)) for n in counted]), (names, MIXED),
    ):  # fmt: skip
        assert not any("zeros of" in w for w in label_report.warnings(png(files), right, False))


@pytest.mark.parametrize("mark", "-#*_@")
def test_marks_that_fill_labels_up_are_reported(mark: str) -> None:
    labels = [name[: 5 - k % 3].ljust(5, mark) for k, name in enumerate(MIXED)]  # 13 have two
    files = png([f"i{k}" for k in range(40)])
    (warning,) = label_report.warnings(files, labels, False)
    said = f"26 labels end with one or more '{mark}', such as i1.png is '{labels[1]}'"
    assert warning.startswith(said)
    inside = [*labels[:39], f"{mark}{MIXED[0][1:]}"]
    ended = [f"{name}{mark}" if k % 2 else name for k, name in enumerate(MIXED)]  # always once
    spoken = [f"{name}{'.' * (k % 4)}" for k, name in enumerate(MIXED)]
    for right in (inside, ended, spoken):
        assert not any("or more" in line for line in label_report.warnings(files, right, False))
