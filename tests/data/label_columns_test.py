"""Which columns of a table have the labels and the parts."""

import json
from pathlib import Path

import pytest

from crnn_jax.errors import DataError
from tests.helpers.empty_images import create, listed

NUMBERS = ["87425", "47345", "95276", "06120", "33901", "71118", "20543", "58860"]
WORDS = ["qk3a", "mm2x", "b7ca", "zz0p", "r4ta", "w9wd", "c1oe", "yh5f"]
FILES = [f"{n}.png" for n in range(8)]
CLASSES = ["0", "1", "2", "0", "1", "2", "0", "1"]


def table(header: str, *columns: list[str]) -> str:
    return "\n".join([header, *(",".join(row) for row in zip(*columns, strict=True))]) + "\n"


# ------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (NUMBERS, CLASSES),  # digits too: the first text alone does not tell which is a class
        (WORDS, CLASSES),
        (WORDS, ["0", "1", "2", "3", "4", "5", "6", "7"]),  # a class for each image
        (WORDS, [""] * 8),
        (CLASSES, NUMBERS),
        (CLASSES, WORDS),
        (["easy", "hard"] * 4, WORDS),
        (["What is the code?"] * 8, NUMBERS),
        (WORDS, WORDS),
    ],
)
def test_the_column_label_may_number_classes(
    tmp_path: Path, text: list[str], label: list[str]
) -> None:
    create(tmp_path, " ".join(FILES))
    create(tmp_path, "", {"metadata.csv": table("file_name,text,label", FILES, text, label)})
    expected = label if text == CLASSES or text[0] in ("easy", "What is the code?") else text
    assert list(listed(tmp_path).labels.values()) == expected
    rows = zip(FILES, text, label, strict=True)
    entries = [{"file_name": f, "text": t, "label": y} for f, t, y in rows]
    create(tmp_path, "", {"metadata.csv": "", "metadata.json": json.dumps(entries)})
    (tmp_path / "metadata.csv").unlink()
    assert list(listed(tmp_path).labels.values()) == expected


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ([f"{n}?" for n in NUMBERS], NUMBERS),
        (NUMBERS, [n[::-1] for n in NUMBERS]),
        (WORDS, ["easy", "hard"] * 4),
    ],
)
def test_columns_that_both_can_be_the_label_are_refused(
    tmp_path: Path, text: list[str], label: list[str]
) -> None:
    create(tmp_path, " ".join(FILES))
    create(tmp_path, "", {"metadata.csv": table("file_name,text,label", FILES, text, label)})
    with pytest.raises(DataError, match="'text' and 'label' can be the label; remove the one that"):
        listed(tmp_path)


def test_at_most_three_columns_are_named(tmp_path: Path) -> None:
    create(tmp_path, "0.png", {"labels.csv": "file,text,word,gt,code\n0.png,a,b,c,d\n"})
    with pytest.raises(DataError, match="'text' and 'word' and 'gt' and 1 more can be the label"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("stats.csv", "length", "no column is named label"),
        ("labels.csv", "length", "no column is named label"),
        (
            "stats.csv",
            "brightness",
            "the column 'brightness' may not contain the labels; if it does",
        ),
        ("test_results.csv", "brightness", "the column 'brightness' may not contain the labels"),
        ("out.csv", "prediction", "the column 'prediction' may not contain the labels"),
        ("train.csv", "prediction", "the column 'prediction', so it seems to contain readings"),
        ("train.csv", "ocr", "the column 'ocr', so it seems to contain readings"),
    ],
)
def test_a_column_of_another_name_does_not_replace_right_file_names(
    tmp_path: Path, name: str, column: str, reason: str
) -> None:
    text = f"file,{column}\nimages/qk3a.png,4\n"
    if name == "labels.csv":
        create(tmp_path, "images/qk3a.png", {name: text})
        with pytest.raises(DataError, match=reason):
            listed(tmp_path)
        return
    create(tmp_path, "images/qk3a.png", {name: text})
    found = listed(tmp_path)
    assert found.labels == {"images/qk3a.png": "qk3a"}
    (warning,) = found.warnings
    assert warning.startswith(f"{name} is not used: ")
    assert reason in warning


@pytest.mark.parametrize("column", ["size", "width", "md5", "url", "fold", "timestamp"])
def test_columns_about_files_are_no_labels(tmp_path: Path, column: str) -> None:
    create(tmp_path, "abcd.png", {"list/files.csv": f"file,{column}\nabcd.png,1240\n"})
    found = listed(tmp_path)
    assert found.labels == {"abcd.png": "abcd"}
    assert "list/files.csv is not used" in found.warnings[-1]
    assert "no column is named label" in found.warnings[-1]


def test_a_column_of_any_name_has_the_labels_unless_its_values_number_classes(
    tmp_path: Path,
) -> None:
    create(tmp_path, " ".join(FILES), {"list/plates.csv": table("filename,plate", FILES, WORDS)})
    assert list(listed(tmp_path).labels.values()) == WORDS
    create(tmp_path, "", {"list/plates.csv": table("filename,plate", FILES, CLASSES)})
    assert list(listed(tmp_path).labels.values()) == [name[:-4] for name in FILES]


def test_two_columns_are_judged_by_all_rows(tmp_path: Path) -> None:
    """The first thousand rows have one text."""
    texts = ["aaaa"] * 1000 + [f"{n:04x}" for n in range(0xA000, 0xA000 + 2000)]
    names = [f"{n}.png" for n in range(3000)]
    create(tmp_path, " ".join(names), {"list/plates.csv": table("file,plate", names, texts)})
    assert set(listed(tmp_path).labels.values()) == set(texts)


@pytest.mark.parametrize("name", ["valid.csv", "training.csv", "dev.csv", "evaluation.csv"])
def test_files_named_for_a_part_are_label_files(tmp_path: Path, name: str) -> None:
    create(tmp_path, " ".join(FILES), {f"list/{name}": table("filename,plate", FILES, CLASSES)})
    assert list(listed(tmp_path).labels.values()) == CLASSES


def test_labels_beside_readings_are_labels(tmp_path: Path) -> None:
    create(tmp_path, "0.png", {"errors.csv": "file,label,prediction\n0.png,ab,cd\n"})
    assert listed(tmp_path).labels == {"0.png": "ab"}


# -------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("data_split", ("train", "test"), ("train", "test")),
        ("dataset", ("Train", "Validation"), ("train", "val")),
        ("fold_name", ("train", "dev"), ("train", "val")),
        ("is_train", ("1", "0"), ("train", "test")),
        ("is_train", ("True", "False"), ("train", "test")),
        ("isVal", ("yes", "no"), ("val", "train")),
        ("is_valid", ("True", "False"), ()),  # whether somebody checked the label
        ("source", ("train", "web"), ()),
        ("is_train", ("1", "2"), ()),
    ],
)
def test_columns_of_parts_are_recognized_by_their_values(
    tmp_path: Path, column: str, values: tuple[str, str], parts: tuple[str, ...]
) -> None:
    first, second = values
    text = f"file,label,{column}\n0.png,ab,{first}\n1.png,cd,{second}\n"
    create(tmp_path, "0.png 1.png", {"labels.csv": text})
    assert tuple(listed(tmp_path).parts.values()) == parts
    entries = [
        {"file": "0.png", "label": "ab", column: {"True": True}.get(first, first)},
        {"file": "1.png", "label": "cd", column: {"False": False}.get(second, second)},
    ]
    (tmp_path / "labels.csv").unlink()
    create(tmp_path, "", {"labels.json": json.dumps(entries)})
    assert tuple(listed(tmp_path).parts.values()) == parts


def test_the_parts_of_a_long_table_are_not_those_of_its_first_rows(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(1500)]
    rows = "".join(f"{name},ab,{'train' if n < 1400 else 'test'}\n" for n, name in enumerate(names))
    create(tmp_path, " ".join(names), {"labels.csv": f"file,label,kind\n{rows}"})
    assert list(listed(tmp_path).parts.values()).count("test") == 100


@pytest.mark.parametrize("name", ["image", "file_name", "file_upload"])
def test_numbers_of_entries_are_no_files_beside_a_column_of_files(
    tmp_path: Path, name: str
) -> None:
    """As from Label Studio, doccano and COCO. Here each number is also the name of an image."""
    create(tmp_path, " ".join(FILES))
    rows = zip(FILES, NUMBERS, strict=True)
    entries = [{"id": 7 - i, name: f, "text": t} for i, (f, t) in enumerate(rows)]
    create(tmp_path, "", {"x.json": json.dumps(entries)})
    assert listed(tmp_path).labels == dict(zip(FILES, NUMBERS, strict=True))


def test_a_column_of_labels_is_not_the_file_because_images_have_such_names(tmp_path: Path) -> None:
    """Here each label is also the name of an image."""
    create(tmp_path, " ".join(FILES), {"labels.csv": table("img_dir,label", FILES, CLASSES)})
    assert listed(tmp_path).labels == dict(zip(FILES, CLASSES, strict=True))


@pytest.mark.parametrize("folder", ["images/", "C:\\set\\", ""])
def test_two_columns_with_the_same_file_names_are_one(tmp_path: Path, folder: str) -> None:
    text = table("image_path,label,file_name", [f"{folder}{f}" for f in FILES], WORDS, FILES)
    create(tmp_path, " ".join(FILES), {"labels.csv": text})
    if folder.startswith("images"):
        create(tmp_path, " ".join(f"images/{f}" for f in FILES))
        assert set(listed(tmp_path).labels) == {f"images/{f}" for f in FILES}
    else:
        assert listed(tmp_path).labels == dict(zip(FILES, WORDS, strict=True))


@pytest.mark.parametrize(
    ("first", "second"),
    [(FILES, FILES[::-1]), ([f"clean/{f}" for f in FILES], [f"noisy/{f}" for f in FILES])],
)
def test_two_columns_of_different_files_are_refused(
    tmp_path: Path, first: list[str], second: list[str]
) -> None:
    text = table("image_path,label,file_name", first, WORDS, second)
    create(tmp_path, " ".join(FILES), {"labels.csv": text})
    with pytest.raises(DataError, match="'image_path' and 'file_name' can be the file"):
        listed(tmp_path)
