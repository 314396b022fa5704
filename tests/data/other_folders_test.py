"""Folders of Kaggle, Hugging Face and labeling tools: which files have the labels, and which not.

The images are not read here, so they are empty files.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.data import label_rows, label_tables, listing
from crnn_jax.data.label_rows import Listing
from crnn_jax.data.label_tables import Labels, Row
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG

READINGS = [{"path": "abcd.png", "text": "abc0", "confidence": 0.4}]
BOXES = '[{"transcription": "ab12", "points": [[1, 1]]}]'


def create(folder: Path, images: str, texts: Mapping[str, str] = {}) -> None:
    """Creates empty images, whose names are separated by spaces, and other files."""
    for name, text in {**dict.fromkeys(images.split(), ""), **texts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def listed(folder: Path, **changes: Any) -> Listing:
    return listing.checked(dataclasses.replace(CONFIG, dir=os.fspath(folder), **changes))


# ------------------------------------------------------------------ which image a row names


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (("train", "test"), "train.csv"),
        (("train_images", "test_images"), "train.csv"),
        (("images/train", "images/test"), "labels/train.csv"),
        (("train", "test"), "labels/train/names.csv"),
    ],
)
def test_a_label_file_of_a_part_names_no_image_of_another(
    tmp_path: Path, folders: tuple[str, str], name: str
) -> None:
    train, test = folders
    create(tmp_path, f"{train}/1.png {train}/2.png {test}/1.png {test}/3.png")
    create(tmp_path, "", {name: "id,label\n1.png,abcd\n2.png,efgh\n3.png,ijkl\n"})
    found = listed(tmp_path)
    assert found.labels == {f"{train}/1.png": "abcd", f"{train}/2.png": "efgh"}
    assert "1 row of" in found.warnings[0]  # that of 3.png


def test_a_column_of_parts_chooses_between_images_of_the_same_name(tmp_path: Path) -> None:
    create(tmp_path, "train/1.png val/1.png")
    create(tmp_path, "", {"labels.csv": "file,label,split\n1.png,abcd,val\n1.png,efgh,train\n"})
    assert listed(tmp_path).labels == {"train/1.png": "efgh", "val/1.png": "abcd"}


def test_label_files_of_two_parts_share_a_folder_of_one_part(tmp_path: Path) -> None:
    create(tmp_path, "train/1.png train/2.png")
    create(tmp_path, "", {"train.csv": "id,label\n1.png,ab\n", "val.csv": "id,label\n2.png,cd\n"})
    assert listed(tmp_path).parts == {"train/1.png": "train", "train/2.png": "val"}


def test_an_image_in_the_lists_of_two_parts_is_not_trained_on(tmp_path: Path) -> None:
    create(tmp_path, "1.png 2.png 3.png")
    rows = ["1.png\tab\n", "2.png\tcd\n", "3.png\tef\n"]
    lists = {"train.txt": "".join(rows), "val.txt": rows[1] + rows[2], "test.txt": rows[2]}
    create(tmp_path, "", lists)
    found = listed(tmp_path)
    assert found.parts == {"1.png": "train", "2.png": "val", "3.png": "test"}
    assert re.search("^2 images in the label files of two parts.*not used for", found.warnings[0])


def test_images_of_the_validation_folder_get_the_labels_of_the_label_file_above(
    tmp_path: Path,
) -> None:
    create(tmp_path, "a/x.png hold/y.png hold/z.png")
    rows = "file,label\na/x.png,abcd\nhold/y.png,mnop\n"
    create(tmp_path, "", {"labels.csv": rows})
    found = listed(tmp_path, val_dir=os.fspath(tmp_path / "hold"))
    assert found.labels == {"a/x.png": "abcd", "data.val_dir/y.png": "mnop"}
    assert found.parts == {"a/x.png": "train", "data.val_dir/y.png": "val"}
    assert found.places == {
        "a/x.png": " (line 2 of labels.csv)",
        "data.val_dir/y.png": " (line 3 of labels.csv)",
    }
    (warning,) = found.warnings
    assert "1 image without a label" in warning  # z.png
    # Without it, the names are the labels.
    create(tmp_path, "", {"labels.csv": "file,label\na/x.png,abcd\n"})
    found = listed(tmp_path, val_dir=os.fspath(tmp_path / "hold"))
    assert found.labels == {"a/x.png": "abcd", "data.val_dir/y.png": "y", "data.val_dir/z.png": "z"}


def test_the_time_does_not_grow_with_the_square_of_the_number_of_label_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels of all files are not walked through for each file."""
    walks = []

    class Counting(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            walks.append(len(self))
            return super().__iter__()

    class Collector(label_rows._Collector):
        def __init__(self, tree: Tree) -> None:
            super().__init__(tree)
            self.labels = Counting()

    monkeypatch.setattr(label_rows, "_Collector", Collector)
    names = [f"{i}.png" for i in range(50)]
    create(tmp_path, " ".join(names))
    files = [(f"{name}.csv", Labels("", iter([Row(name, "ab", 1)]), True)) for name in names]
    assert len(label_rows.collect(Tree(tmp_path), files).labels) == 50
    assert len(walks) < 10


# ------------------------------------------------------------------------- which column


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("metadata.csv", "file_name,text,label\n0.png,abcd,7\n", "abcd"),
        ("metadata.csv", "file_name,text,label\n0.png,,7\n", "7"),
        ("metadata.csv", "file_name,text,label\n0.png,1234,7\n", "7"),  # as documented
        ("metadata.jsonl", '{"file_name": "0.png", "label": "7", "words": "abcd"}', "abcd"),
        ("ann.txt", "./1/0_Lube_45484.png 45484\n", "Lube"),  # MJSynth
        ("ann.txt", "./1/0_Lube_45484.png 45485\n", "45485"),
        ("gt.txt", '0.png, "\\"100%"\n', '"100%'),  # ICDAR
        ("gt.txt", '0.png, "a""b\\"\n', 'a"b\\'),  # CSV
    ],
)
def test_the_label_is_the_text_of_the_image(
    tmp_path: Path, name: str, text: str, label: str
) -> None:
    create(tmp_path, "0.png" if "Lube" not in text else "1/0_Lube_45484.png", {name: text})
    assert list(listed(tmp_path).labels.values()) == [label]


@pytest.mark.parametrize("column", ["size", "width", "md5", "url", "fold", "timestamp"])
def test_columns_about_files_are_no_labels(tmp_path: Path, column: str) -> None:
    create(tmp_path, "abcd.png", {"list/files.csv": f"file,{column}\nabcd.png,1240\n"})
    found = listed(tmp_path)
    assert found.labels == {"abcd.png": "abcd"}
    assert "list/files.csv is not used" in found.warnings[-1]
    assert "no column is named label" in found.warnings[-1]


# ------------------------------------------------------------------- which file has labels


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.txt", "q7ka.png: AAAA\n", "in the form of a label file"),
        ("labels.txt", "", "in the form of a label file"),
        ("train.txt", "q7ka.png\nm3xp.png\n", "names images without labels"),
        ("labels.json", '{"version": 1, "data": [{"image": "q7ka.png"}]}', "in the form of a"),
        ("q7ka.json", '{"objects": []}', "in the form of a label file"),
        ("annotations.xml", "<a/>", "save it as CSV"),
        ("train/q7ka.xml", "<a/>", "save it as CSV"),
        ("sample_submission.csv", "id,label\nq7ka,aaaa\n", "the form of an answer to Kaggle"),
        ("out.json", json.dumps(READINGS), "has confidences"),
        ("out.jsonl", json.dumps(READINGS[0]), "has confidences"),
        ("Label.txt", f"abcd.png\t{BOXES}\n", "a list for text detection"),
        ("README.txt", "how to use it\n", ""),
        ("setup.xml", "<a/>", ""),
        ("fileState.txt", "/d/q7ka.png\t1\n", ""),  # of PPOCRLabel
    ],
)
def test_a_file_that_is_not_used_is_mentioned_if_it_may_have_labels(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    create(tmp_path, "images/q7ka.png images/m3xp.png images/abcd.png", {name: text})
    found = listed(tmp_path)
    assert list(found.labels.values()) == ["abcd", "m3xp", "q7ka"]
    assert len(found.warnings) == bool(said)
    assert all(f"{name} is not used" in warning and said in warning for warning in found.warnings)


def test_a_list_of_boxes_does_not_hide_the_list_of_words(tmp_path: Path) -> None:
    """The files of PPOCRLabel."""
    texts = {
        "rec_gt.txt": "crop_img/0.jpg\tab12\n",
        "Label.txt": f"set/full.jpg\t{BOXES}\n",
        "fileState.txt": "/d/set/full.jpg\t1\n",
    }
    create(tmp_path, "full.jpg crop_img/0.jpg", texts)
    found = listed(tmp_path)
    assert found.labels == {"crop_img/0.jpg": "ab12"}
    assert any("Label.txt is not used" in warning for warning in found.warnings)


def test_text_files_of_few_images_say_why_they_are_not_used(tmp_path: Path) -> None:
    create(tmp_path, "0.png 1.png 2.png", {"0.txt": "abcd\n"})
    with pytest.raises(DataError, match=r"fewer than half of the images \(1 of 3\) have one"):
        listed(tmp_path)
    create(tmp_path, "", {"1.txt": "efgh\n"})
    assert listed(tmp_path).labels == {"0.png": "abcd", "1.png": "efgh"}


def test_images_of_other_formats_are_not_ignored(tmp_path: Path) -> None:
    create(tmp_path, "train/abcd.png val/efgh.avif")
    with pytest.raises(DataError, match=r"val/efgh\.avif: .*not supported; save it as PNG"):
        listed(tmp_path)


def test_a_list_in_a_label_file_can_be_nested_too_deeply(tmp_path: Path) -> None:
    deep = '["x.png",' + "[" * 200_000
    create(tmp_path, "a.png b.png", {"rec_gt.txt": f"a.png\tab12\nb.png\tcd34\n{deep}\tno\n"})
    assert listed(tmp_path).labels == {"a.png": "ab12", "b.png": "cd34"}


def test_a_member_may_repeat_the_name_of_its_image(tmp_path: Path) -> None:
    rows = {f"{n}.png": {"file": f"{n}.png", "label": f"x{n}"} for n in range(2)}
    create(tmp_path, "0.png 1.png", {"labels.json": json.dumps(rows)})
    assert listed(tmp_path).labels == {"0.png": "x0", "1.png": "x1"}


@pytest.mark.parametrize(
    ("rows", "is_text"),
    [
        ('"7.png","1234"\n"8.png","0123"\n', True),
        ('"7",1234\n"8",123\n', False),  # the names have quotes, and the labels have lost zeros
    ],
)
def test_quotes_around_labels_keep_leading_zeros(tmp_path: Path, rows: str, is_text: bool) -> None:
    found = label_tables.read(f'"file","label"\n{rows}', "labels.csv", lambda name: True)
    assert found.is_text == is_text
