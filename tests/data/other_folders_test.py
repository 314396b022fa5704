"""Folders of Kaggle, Hugging Face and labeling tools: which labels and parts the images have.

The images are not read here, so they are empty files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crnn_jax.data import label_rows, label_tables
from crnn_jax.data.label_tables import Labels, Row
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError
from crnn_jax.runtime import files
from tests.helpers.empty_images import create, listed

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


def test_the_file_name_of_an_absolute_path_is_enough_if_one_image_has_it(tmp_path: Path) -> None:
    create(tmp_path, "images/8c1e-0.png images/8c1e-1.png train/2.png a/3.png b/3.png")
    uploads = {"8c1e-0": "abcd", "8c1e-1": "efgh"}
    paths = {**{f"/data/upload/1/{k}.png": v for k, v in uploads.items()},
             "/set/test/2.png": "ijkl", "/data/upload/1/3.png": "mnop", "upload/8c1e-0.png": "qrst",
             r"C:\set\train\2.png": "uvwx"}  # fmt: skip
    create(
        tmp_path,
        "",
        {"labels.csv": "file,label\n" + "".join(f"{k},{v}\n" for k, v in paths.items())},
    )
    found = listed(tmp_path)
    assert found.labels == {
        "images/8c1e-0.png": "abcd", "images/8c1e-1.png": "efgh", "train/2.png": "uvwx"
    }  # fmt: skip
    assert "3 rows of" in found.warnings[0]  # of another part, of two images, and not absolute


def test_an_image_in_a_folder_of_another_number_is_another_image(tmp_path: Path) -> None:
    """As in MJSynth, of which a part was downloaded."""
    create(tmp_path, "0001/word_1.png 0001/word_2.png 0002/word_1.png")
    rows = "/mnt/syn/0001/word_1.png good\n/mnt/syn/0003/word_2.png wrong\n"
    create(tmp_path, "", {"gt.txt": rows})
    found = listed(tmp_path)
    assert found.labels == {"0001/word_1.png": "good"}
    assert "1 row of gt.txt without an image" in found.warnings[0]


def test_a_damaged_log_or_result_does_not_stop_the_reading_of_labels(tmp_path: Path) -> None:
    create(tmp_path, "images/0.png", {"rec_gt_train.txt": "images/0.png\tabcd\n"})
    create(tmp_path, "", {"train_log.json": '{"step": 1}\n{"step": 2}\n', "test_results.csv": '"'})
    assert listed(tmp_path).labels == {"images/0.png": "abcd"}


def test_the_numbers_of_images_in_coco_are_not_their_names(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{(i + 1) % 3}.png"} for i in range(3)]
    texts = [{"id": 9 + i, "image_id": i, "text": f"t{i}"} for i in range(3)]
    coco = {"info": {}, "images": images, "categories": [], "annotations": texts}
    create(tmp_path, "data/0.png data/1.png data/2.png", {"a/captcha.json": json.dumps(coco)})
    found = listed(tmp_path)
    assert list(found.labels.values()) == ["t2", "t0", "t1"]  # image 2 is in 0.png
    assert found.warnings == ()


def test_an_image_without_an_object_in_json_has_no_label(tmp_path: Path) -> None:
    entries = {"0.png": {"label": "ab"}, "1.png": {"label": "cd"}, "2.png": None}
    create(tmp_path, "0.png 1.png 2.png", {"list/labels.json": json.dumps(entries)})
    with pytest.raises(DataError) as error:
        listed(tmp_path)
    assert "1 file in" in str(error.value)
    assert "2.png: " in str(error.value)


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
        ("metadata.csv", "file_name,text,label\n0.png,1234,7\n", "1234"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": "7", "words": "abcd"}', "abcd"),
        ("ann.txt", "./1/0_Lube_45484.png 45484\n", "Lube"),  # MJSynth
        ("ann.txt", "./1/0_Lube_45484.png 45485\n", "45485"),
        ("ann.txt", "./1/0_Lube_05484.png 05484\n", "05484"),  # not the number of a word
        ("ann.txt", "./1/0_Lube_95484.png 95484\n", "95484"),  # the lexicon has 88,172 words
        ("gt.txt", '0.png, "\\"100%"\n', '"100%'),  # ICDAR
        ("gt.txt", '0.png, "a""b\\"\n', 'a"b\\'),  # CSV
    ],
)
def test_the_label_is_the_text_of_the_image(
    tmp_path: Path, name: str, text: str, label: str
) -> None:
    image = text.split()[0].removeprefix("./") if "Lube" in text else "0.png"
    create(tmp_path, image, {name: text})
    assert list(listed(tmp_path).labels.values()) == [label]


# ------------------------------------------------------------------- which file has labels


def test_the_form_of_an_answer_is_not_a_test_part(tmp_path: Path) -> None:
    rows = {"train.csv": "id,label\n0.png,ab\n", "sampleSubmission.csv": "id,label\n1.png,aa\n"}
    create(tmp_path, "train/0.png test/1.png", rows)
    assert listed(tmp_path).labels == {"train/0.png": "ab"}


def test_label_files_beside_images_are_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path, "ab.png", {"labels.json": "{}", "list.csv": "epoch,loss\n1,2\n"})
    read, opened = files.read, []
    monkeypatch.setattr(
        files, "read", lambda path, most: (opened.append(path.name), read(path, most))[1]
    )
    with pytest.raises(
        DataError, match=r"2 files in .*\n  labels\.json: not an image, and it does"
    ):
        listed(tmp_path)
    assert sorted(opened) == ["labels.json", "list.csv"]


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
