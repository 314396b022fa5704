"""The image and the part of each row of a label file."""

import dataclasses
import os
import random
import re
import unicodedata
from pathlib import Path

import pytest

from crnn_jax.data import listing, part_names, splits
from crnn_jax.data.label_rows import Listing
from crnn_jax.data.tree import AmbiguousError, Tree
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw


def save(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw("1").save(folder / name)


def write(folder: Path, file: str, *rows: str) -> None:
    """Writes a table of files and labels."""
    (folder / file).write_text("\n".join(["file,label", *rows]) + "\n")


def listed(folder: Path) -> Listing:
    return listing.checked(dataclasses.replace(CONFIG, dir=os.fspath(folder)))


# --------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("train/a.png", "train"),
        ("a/Validation/b/c.png", "val"),
        ("train\\a.png", "train"),
        ("D:\\test\\a.png", "test"),
        ("/home/dev/set/train/a.png", "train"),  # not dev
        ("train.png", ""),
        ("training_images/a.png", "train"),
        ("train_and_test/a.png", ""),
        ("TrainSet/a.png", "train"),
        ("testset/a.png", "test"),
        ("valImages/a.png", "val"),
        ("validation_imgs/a.png", "val"),
        ("OCRTest/a.png", "test"),
        ("TrainTest/a.png", ""),
        ("latest/a.png", ""),
        ("trainers/a.png", ""),
    ],
)
def test_the_nearest_folder_names_the_part(path: str, part: str) -> None:
    assert part_names.of_path(path) == part


@pytest.mark.parametrize("row", ["/home/dev/set/{}", "/mnt/test/set/{}", "C:\\dev\\{}", "{}"])
def test_the_folder_of_the_image_counts_more_than_paths_of_another_machine(
    tmp_path: Path, row: str
) -> None:
    names = ["train/0.png", "train/1.png", "test/2.png"]
    save(tmp_path, *names)
    write(tmp_path, "labels.csv", *(f"{row.format(name)},abc" for name in names))
    assert listed(tmp_path).parts == {
        "train/0.png": "train", "train/1.png": "train", "test/2.png": "test",
    }  # fmt: skip


def test_paths_of_windows_name_parts_of_images_in_one_folder(tmp_path: Path) -> None:
    save(tmp_path, "0.png", "1.png")
    write(tmp_path, "labels.csv", "train\\0.png,ab", "test\\1.png,cd")
    assert listed(tmp_path).parts == {"0.png": "train", "1.png": "test"}


@pytest.mark.parametrize(
    ("header", "value", "part"),
    [("split", "test", "test"), ("split", "dev", "val"), ("is_test", "1", "test"),
     ("split", "train", ""), ("is_train", "yes", "")],
)  # fmt: skip
def test_a_column_can_say_that_no_image_is_for_training(
    tmp_path: Path, header: str, value: str, part: str
) -> None:
    """Such images can be read, but a run must not train on them."""
    save(tmp_path, "0.png", "1.png")
    (tmp_path / "labels.csv").write_text(
        f"file,label,{header}\n0.png,ab,{value}\n1.png,cd,{value}\n"
    )
    found = listed(tmp_path)
    assert found.parts == ({"0.png": part, "1.png": part} if part else {})
    if part:
        with pytest.raises(DataError, match="no training images; add a train part, remove the col"):
            splits.split(list(found.labels.values()), CONFIG, list(found.parts.values()))


def test_label_files_that_divide_one_folder(tmp_path: Path) -> None:
    """As in competitions, where all labeled images are in `train` and tables divide them."""
    save(tmp_path, "train/0.png", "train/1.png")
    write(tmp_path, "train.csv", "train/0.png,ab")
    write(tmp_path, "val.csv", "train/1.png,cd")
    assert listed(tmp_path).parts == {"train/0.png": "train", "train/1.png": "val"}


def test_label_files_whose_names_have_a_part_within_a_word(tmp_path: Path) -> None:
    save(tmp_path, "0.png", "1.png", "2.png")
    write(tmp_path, "trainset.csv", "0.png,ab")
    write(tmp_path, "ValData.csv", "1.png,cd")
    write(tmp_path, "gtTest.csv", "2.png,ef")
    assert listed(tmp_path).parts == {"0.png": "train", "1.png": "val", "2.png": "test"}


def test_one_label_file_of_several_folders_of_parts(tmp_path: Path) -> None:
    """The folders of the images matter more than the name of the label file."""
    save(tmp_path, "train/0.png", "test/1.png")
    write(tmp_path, "train_labels.csv", "train/0.png,ab", "test/1.png,cd")
    assert listed(tmp_path).parts == {"train/0.png": "train", "test/1.png": "test"}


# -------------------------------------------------------------------------------- images


def test_a_label_file_in_a_folder_beside_the_images(tmp_path: Path) -> None:
    save(tmp_path, "images/0.png", "images/1.png")
    (tmp_path / "labels").mkdir()
    rows = "../images/0.png\tab\n../images/1.png\tcd\n"
    (tmp_path / "labels" / "gt.txt").write_text(rows)
    assert listed(tmp_path).labels == {"images/0.png": "ab", "images/1.png": "cd"}


def test_an_image_that_is_missing_is_left_out_whatever_its_path(tmp_path: Path) -> None:
    save(tmp_path, "0.png")
    rows = ["/data/set/0.png,ab", "/data/set/gone.png,cd", "C:\\set\\lost.png,ef"]
    write(tmp_path, "labels.csv", *rows)
    found = listed(tmp_path)
    assert found.labels == {"0.png": "ab"}
    (warning,) = found.warnings
    assert warning.startswith("2 rows of labels.csv without an image: left out, such as /data/set/")


def test_an_image_that_a_row_may_mean_is_named_if_it_has_no_label(tmp_path: Path) -> None:
    save(tmp_path, "0646.png", "0077.png", "1234.png")
    write(tmp_path, "labels.csv", "646.png,646", "0077.png,0077", "77.png,77", "1234.png,1234")
    rows, images = listed(tmp_path).warnings
    assert rows.endswith("left out, such as 646.png (there is 0646.png), 77.png")
    assert images.endswith("left out, such as 0646.png")


def test_columns_that_are_swapped_are_one_error(tmp_path: Path) -> None:
    save(tmp_path, "0.png", "1.png")
    write(tmp_path, "labels.csv", "abc,0.png", "def,1.png")
    with pytest.raises(DataError) as error:
        listed(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no row of a label file names an image, but all labels do, such as '0.png' of "
        "'abc': exchange the columns of files and labels"
    )


def test_rows_of_two_label_files_can_name_a_missing_image_alike(tmp_path: Path) -> None:
    save(tmp_path, "train/1.png", "val/1.png")
    write(tmp_path / "train", "labels.csv", "0.png,ab", "1.png,cd")
    write(tmp_path / "val", "labels.csv", "0.png,ef", "1.png,gh")
    found = listed(tmp_path)
    assert found.labels == {"train/1.png": "cd", "val/1.png": "gh"}
    (warning,) = found.warnings
    assert warning.startswith("2 rows of train/labels.csv and val/labels.csv without an image")
    assert warning.endswith("train/0.png, val/0.png")
    write(tmp_path / "val", "labels.csv", "0.png,ef", "0.png,ef", "1.png,gh")
    with pytest.raises(DataError, match=r"val/0\.png: listed twice in val/labels\.csv, on lines 2"):
        listed(tmp_path)


def test_wrong_rows_of_two_label_files_are_all_named(tmp_path: Path) -> None:
    save(tmp_path, "train/0.png", "val/0.png")
    write(tmp_path / "train", "labels.csv", "0.png,ab ", "gone.png,x ", ",cd", ",ef")
    write(tmp_path / "val", "labels.csv", "0.png,gh ", "gone.png, y")
    with pytest.raises(DataError, match=r"^6 files in ") as error:
        listed(tmp_path)
    for line in (
        "train/0.png: its label 'ab ' begins or ends with white space; remove it (line 2 of train/",
        "val/0.png: its label 'gh ' begins or ends with white space; remove it (line 2 of val/",
        "train/gone.png: its label 'x ' begins or",
        "val/gone.png: its label ' y' begins or",
        "its file name is empty (line 4 of train/labels.csv)",
        "its file name is empty (line 5 of train/labels.csv)",
    ):
        assert line in str(error.value)


def test_images_that_nobody_can_read_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, "0.png", "1.png", "2.png")
    write(tmp_path, "gt.csv", "0.png,ab", "1.png,###", "2.png,##", "gone.png,###")
    found = listed(tmp_path)
    assert found.labels == {"0.png": "ab", "2.png": "##"}
    assert found.warnings == (
        "1 image with the label ###, which marks unreadable text: left out, such as 1.png",
    )


def test_a_relative_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "out.png", "set/0.png")
    write(tmp_path / "set", "labels.csv", "0.png,ab", "../out.png,cd")
    with pytest.raises(DataError, match=r"\.\./out\.png: its name leads out of the folder"):
        listed(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("img x.jpg", "; there is img x.png"),
        ("img%20x.png", "; there is img x.png"),
        ("img%20x.jpeg", "; there is img x.png"),
        ("https://example.org/c/img%20x.png?v=1", "; there is img x.png"),
        (" img x.png ", "; there is img x.png"),
        ("img x.1", ""),
        ("img y.jpg", ""),
    ],
)
def test_a_missing_image_may_be_one_of_a_similar_name(tmp_path: Path, name: str, hint: str) -> None:
    save(tmp_path, "img x.png")
    write(tmp_path, "labels.csv", f"{name},ab")
    with pytest.raises(DataError, match=re.escape(f"no such file{hint} (line 2 of")):
        listed(tmp_path)


def fitting(images: list[str], name: str) -> str | None:
    """A slow reference: the image whose path has the longest common ending with the row."""

    def key(path: str) -> list[str]:
        parts = path.replace("\\", "/").split("/")
        return [unicodedata.normalize("NFC", p).casefold() for p in parts if p not in ("", "C:")]

    row, best = key(name), -1
    found: list[str] = []
    for image in images:
        path = key(image)
        common = min(len(row), len(path))
        if row[-common:] == path[-common:] and common >= best:
            found = [*(found if common == best else []), image]
            best = common
    exact = [image for image in found if image.split("/")[-1] == name.split("/")[-1]]
    if len(found) > 1 and len(exact) != 1:
        raise AmbiguousError
    return (exact if len(found) > 1 else [*found, None])[0]


def test_the_image_of_a_row_is_that_of_a_search_through_all(tmp_path: Path) -> None:
    draws = random.Random(0)

    def path(most: int) -> str:
        folders = [draws.choice(["a", "b", "B", "c"]) for _ in range(draws.randint(0, most))]
        return "/".join([*folders, draws.choice(["x.png", "X.png", "y.png"])])

    images = sorted({path(3) for _ in range(60)} - {"x.png", "X.png", "y.png"})
    for image in images:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).touch()
    tree = Tree(tmp_path)
    kinds = set()
    for _ in range(1000):
        row = f"/{path(5)}" if draws.random() < 0.5 else f"C:/{path(4)}"
        try:
            expected = fitting(images, row)
        except AmbiguousError:
            with pytest.raises(AmbiguousError):
                tree.find(row)
            kinds.add("several")
            continue
        if expected is None and row.startswith("/"):
            with pytest.raises(ValueError, match="leads out"):
                tree.find(row)
        else:
            assert tree.find(row) == expected
        kinds.add("none" if expected is None else "one")
    assert kinds == {"one", "none", "several"}
