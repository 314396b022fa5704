"""Files that are not used as label files: which are mentioned, and which hide the file names.

The images are not read here, so they are empty files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crnn_jax.errors import DataError
from tests.helpers.empty_images import create, listed

READINGS = [{"path": "abcd.png", "text": "abc0", "confidence": 0.4}]
BOXES = '[{"transcription": "ab12", "points": [[1, 1]]}]'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.txt", "q7ka.png: AAAA\n", "in the form of a label file"),
        ("labels.txt", "", "in the form of a label file"),
        ("train.txt", "q7ka.png\nm3xp.png\n", "names images without labels"),
        ("labels.json", '{"version": 1, "data": [{"image": "q7ka.png"}]}',
         "no column is named label; its entries have ['image']"),
        ("x.json", '[{"id": 1, "annotations": [], "data": {}, "file_upload": "q7ka.png"}]',
         "an export of Label Studio with all annotations; export JSON-MIN or CSV"),
        ("x.json", '{"images": true, "annotations": [{"image_id": 1, "file_name": "q7ka.png"}]}',
         "in the form of a label file"),
        ("x.json", '{"images": [{"id": 1, "file_name": "q7ka.png"}], "categories": []}',
         "no column is named label; its entries have ['id', 'file_name']"),
        ("q7ka.json", '{"objects": []}', 'in the form of a label file, such as {"a.png": "label"}'),
        ("annotations.xml", "<a/>", "save it as CSV"),
        ("train/q7ka.xml", "<a/>", "save it as CSV"),
        ("sample_submission.csv", "id,label\nq7ka,aaaa\n", "named like a submission to Kaggle"),
        ("out.json", json.dumps(READINGS), "readings, not labels; rename it to labels.json to use"),
        ("out.jsonl", json.dumps(READINGS[0]), "not labels; rename it to labels.jsonl to use it"),
        ("Label.txt", f"abcd.png\t{BOXES}\n", "a list for text detection"),
        ("sampleSubmission.csv", "id,label\nq7ka,aaaa\n", "named like a submission to Kaggle"),
        ("mysubmission.csv", "id,label\nq7ka,aaaa\n", "named like a submission to Kaggle"),
        ("notes.txt", "see (q7ka.png) and others\n", "in the form of a label file"),
        ("list.dat", "q7ka.png\tAAAA\n", "in the form of a label file"),
        ("labels", "q7ka.png\tAAAA\n", "its format is not known"),
        ("labels.csv.gz", "", "its format is not known"),
        ("labels.yaml", "", "its format is not known"),
        ("labels.toml", "", "its format is not known"),
        ("gt.ini", "", "its format is not known"),
        ("train.toml", "", ""),  # settings of a training program
        ("train.mat", "", "its format is not known"),
        ("annotations/instances_default.json", "{}", "in the form of a label file"),
        ("annotations/data.bin", "", "its format is not known"),
        ("labels.zip", "", "its format is not known"),
        ("train.zip", "", ""),  # often of the folder train
        ("train.tar.gz", "", ""),
        ("train.py", "'q7ka.png'\n", ""),
        ("README", "q7ka.png is an example\n", ""),
        ("setup.txt", "see q7ka.gif\n", ""),  # no image of the folder
        ("README.txt", "how to use it\n", ""),
        ("setup.xml", "<a/>", ""),
        ("fileState.txt", "/d/q7ka.png\t1\n", ""),  # of PPOCRLabel
    ],
)  # fmt: skip
def test_a_file_that_is_not_used_is_mentioned_if_it_may_have_labels(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    create(tmp_path, "images/q7ka.png images/m3xp.png images/abcd.png", {name: text})
    found = listed(tmp_path)
    assert list(found.labels.values()) == ["abcd", "m3xp", "q7ka"]
    assert len(found.warnings) == bool(said)
    assert all(f"{name} is not used" in warning and said in warning for warning in found.warnings)


def test_files_that_are_not_used_are_mentioned_beside_others_that_are(tmp_path: Path) -> None:
    lists = {"train.txt": "0.png\tab\n", "val.txt": "1.png: cd\n", "val.xlsx": "PK"}
    create(tmp_path, "0.png 1.png", lists)
    found = listed(tmp_path)
    assert found.labels == {"0.png": "ab"}
    assert found.warnings == (
        "1 image without a label in train.txt: left out, such as 1.png",
        "val.txt is not used: it does not name images of this folder in the form of a label file, "
        "such as a table with the header file,label",
        "val.xlsx is not used: if it has the labels, save it as CSV in UTF-8",
    )
    (tmp_path / "train.txt").unlink()
    create(tmp_path, "", {"0.txt": "ab", "val.txt": ""})  # a text file for each image
    assert "val.xlsx is not used" in listed(tmp_path).warnings[-1]


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


@pytest.mark.parametrize("name", ["gt.txt", "metadata.jsonl", "labels.csv", "0.txt", "labels.xml"])
def test_label_files_are_ignored_beside_images_without_labels(tmp_path: Path, name: str) -> None:
    create(tmp_path, "0.png 1.png", {name: "anything"})
    assert listed(tmp_path, use_labels=False).labels == {"0.png": "", "1.png": ""}
    create(tmp_path, "", {"photo.jpgg": ""})
    with pytest.raises(DataError, match=r"1 file in .*\n  photo\.jpgg: not an image"):
        listed(tmp_path, use_labels=False)


def test_images_of_other_formats_are_not_ignored(tmp_path: Path) -> None:
    create(tmp_path, "train/abcd.png val/efgh.avif")
    with pytest.raises(DataError, match=r"val/efgh\.avif: .*not supported; save it as PNG"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "C:\\set\\ab3d.png\nC:\\set\\x7kq.png\n"),
        ("names.txt", "ab3d\nx7kq\n"),
        ("list.lst", "ab3d.png\nx7kq.png\n"),
    ],
)
def test_a_list_of_images_does_not_replace_their_names(
    tmp_path: Path, name: str, text: str
) -> None:
    create(tmp_path, "ab3d.png x7kq.png", {name: text})
    found = listed(tmp_path)
    assert found.labels == {"ab3d.png": "ab3d", "x7kq.png": "x7kq"}
    (warning,) = found.warnings
    assert warning.startswith(f"{name} is not used: ")
    assert warning.endswith("names images without labels")


def test_a_list_of_a_part_is_not_ignored(tmp_path: Path) -> None:
    """Its images would be trained on."""
    create(tmp_path, "ab3d.png x7kq.png", {"test.txt": "x7kq.png\n"})
    with pytest.raises(DataError, match=r"test\.txt names images without labels"):
        listed(tmp_path)


@pytest.mark.parametrize("name", ["train_log.csv", "words.csv", "label_stats.csv"])
def test_other_tables_are_not_mentioned(tmp_path: Path, name: str) -> None:
    create(tmp_path, "images/ab3d.png images/x7kq.png", {name: "epoch,loss\n1,2\n2,1\n"})
    assert listed(tmp_path).warnings == ()


def test_a_list_with_the_names_of_the_images_lacks_none(tmp_path: Path) -> None:
    boxes = '[{"transcription": "a", "points": []}]'
    create(tmp_path, "1.png 2.png", {"Label.txt": f"1.png\t{boxes}\n2.png\t{boxes}\n"})
    with pytest.raises(DataError) as raised:
        listed(tmp_path)
    assert "line 1 has boxes" in str(raised.value)
    assert "a line for each" not in str(raised.value)


def test_a_table_named_like_a_label_file_is_mentioned_if_it_cannot_be_used(tmp_path: Path) -> None:
    create(tmp_path, "a/1.png b/1.png a/2.png b/2.png", {"data_labels.csv": "1,gkc663\n2,h4kd93\n"})
    (warning,) = listed(tmp_path).warnings
    assert warning.startswith("data_labels.csv is not used: ")
