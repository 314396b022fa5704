"""Labels that spreadsheets and pandas changed."""

import json
from pathlib import Path

import pytest

from crnn_jax.data import label_shapes
from tests.helpers.empty_images import create, listed

SUMS = [f"{a}{'+-'[a % 2]}{b}{end}" for a in range(1, 9) for b in (1, 3, 5) for end in ("", "=")]
HEX = [f"{n:04x}" for n in range(0xA1B2, 0xA1B2 + 40)]  # letters and digits, four each


def changed(labels: list[str], is_text: bool = False) -> list[tuple[str, list[int]]]:
    return [(change.what, change.places) for change in label_shapes.changes(labels, is_text)]


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("79e8", "7.90E+09", "with an exponent"),
        ("1e05", "1E+05", "with an exponent"),
        ("87425", "87425.0", "in the form of a float"),
        ("87425", "87,425", "with commas between digits"),
        ("dec12", "12-Dec", "in the form of a date"),
        ("mar99", "Mar-99", "in the form of a date"),
        ("true", "TRUE", "in the form of a truth value"),
        ("0614", "614", "of digits alone, shorter than all others"),
        ("0007", "7", "of digits alone, shorter than all others"),
    ],
)
def test_single_labels_that_a_spreadsheet_changed_are_found(
    before: str, after: str, what: str
) -> None:
    assert changed([*HEX, after]) == [(what, [40])]
    if len(before) == 4:  # the length of the others
        assert changed([*HEX, before]) == []


@pytest.mark.parametrize(
    "after",
    [
        "05-Apr",
        "Feb-13",
        "2023-04-05 00:00:00",
        "2023-04-05",
        "1/1/2023",
        "1月1日",
        "03. Mai",
        "4.Mär",
    ],
)
def test_sums_that_a_spreadsheet_read_as_dates_are_found(after: str) -> None:
    """A minus of a sum is no hyphen of a text."""
    assert changed([*SUMS, after]) == [("in the form of a date", [len(SUMS)])]


def test_each_change_is_found_beside_the_others() -> None:
    labels = [*HEX, "7.90E+09", "12-Dec", "TRUE", "614", "3"]
    assert [what for what, _ in changed(labels)] == [
        "with an exponent",
        "in the form of a date",
        "in the form of a truth value",
    ]
    # 614 and 3 are not the only other lengths, so they may be as they were.


@pytest.mark.parametrize(
    "labels",
    [
        [f"{a}-{b}" for a in range(6) for b in ("Dec", "x", "abc")],  # others have the symbol
        [f"2023-04-{n}" for n in range(10, 20)] + [f"{n}.04.2023" for n in range(20, 31)],
        [f"{n}-Apr" for n in range(10, 20)] + [f"2023-04-{n}" for n in range(20, 31)],
        [f"2023-04-{n}" for n in range(10, 20)] + [f"04/{n}/18" for n in range(20, 31)],
        ["2023-04-05", "12.50", "1:30", "EUR", "5/4"],  # of receipts
        [*SUMS, "10 - 3", "8x4", "12-4=?"],
        ["TRUE", *(f"{word}X" for word in HEX)],  # others have capitals
        ["TRUE", "1"],  # too few to tell
        [f"{n}.{n % 10}" for n in range(40)],
        [str(n) for n in range(100)],  # 0 has no lost zeros, so 7 has none
        [*HEX, "0614", "12"],  # zeros are kept
        [str(n) for n in range(30)] + HEX,  # many are short
    ],
)
def test_labels_as_they_are_give_no_warning(labels: list[str]) -> None:
    assert changed(labels) == []


def test_short_digits_in_a_file_of_texts_have_not_lost_zeros() -> None:
    assert changed([*HEX, "614"], is_text=True) == []


def test_the_warning_gives_the_count_and_the_first_line(tmp_path: Path) -> None:
    labels = [*HEX, "7.90E+09", "1.20E+04"]
    names = [f"{n:02d}.png" for n in range(42)]
    rows = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
    create(tmp_path, " ".join(names), {"labels.csv": f"file,label\n{rows}"})
    (warning,) = listed(tmp_path).warnings
    assert warning == (
        "2 labels with an exponent, such as '7.90E+09' (line 42 of labels.csv): a spreadsheet or "
        "pandas may have changed them; check them"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,label\n0.png,12.00\n1.png,7.50\n"),
        ("labels.csv", 'file,label\n0.png,"12.0"\n1.png,"7.0"\n'),
        ("gt.txt", "0.png\t12.0\n1.png\t7.0\n"),
        ("labels.json", json.dumps({"0.png": "12.0", "1.png": "7.0"})),
    ],
)
def test_amounts_can_be_labels(tmp_path: Path, name: str, text: str) -> None:
    create(tmp_path, "0.png 1.png", {name: text})
    first, second = listed(tmp_path).labels.values()
    assert (float(first), float(second)) in ((12.0, 7.5), (12.0, 7.0))
    assert first.startswith("12.0")


def test_the_remedy_fits_the_format() -> None:
    numbers = [str(n) for n in (*range(10_203, 10_238), 203, 564, 7289, 3785, 9115)]
    for labels in (["12.0", "7.0"], numbers):
        found = label_shapes.damaged_numbers(labels)
        assert found is not None
        assert "If they are right, put them in quotes: " in found
        found = label_shapes.damaged_numbers(labels, kept="store the column as strings")
        assert found is not None
        assert "If they are right, store the column as strings: " in found
        assert "quotes" not in found
    assert label_shapes.damaged_numbers(["12.0", "7.0"], is_text=True) is None


def test_a_form_that_most_labels_have_is_their_own() -> None:
    dates = [f"{day}-Dec" for day in range(1, 21)]
    amounts = [f"{n},100" for n in range(1, 19)] + ["950", "12"]
    assert changed(dates) == changed(amounts) == []
    assert changed(["1234", "567", "8912", "3456", "7891", "2345", "6789"]) == []  # without zeros
