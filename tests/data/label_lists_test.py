"""Label files of other recognizers: lists of lines, JSON, and a text file for each image."""

import json
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.data import label_lists
from crnn_jax.errors import DataError
from tests.helpers.images import draw
from tests.helpers.labeled_images import EXPECTED, LABELS, load, table

PAIRS = list(LABELS.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gt.txt", "".join(f"{file} {label}\n" for file, label in PAIRS)),
        ("gt.txt", "".join(f"{file}\t{label}\n" for file, label in PAIRS)),
        ("gt.txt", "\ufeff" + "".join(f'{file}, "{label}"\r\n' for file, label in PAIRS)),
        ("gt.txt", "".join(f"{file}\t{label}\n" for file, label in PAIRS).replace(".png", "")),
        ("rec_gt_train.txt", "".join(f"set/x/{file}\t{label}\n" for file, label in PAIRS)),
        ("list.txt", "".join(f"{file}|{label}\n" for file, label in PAIRS)),
        ("list.txt", table("image,label", "{file},{label}")),
        ("list.txt", table("# name label", "{file} {label}")),
        ("list.txt", table("# made by hand\n#\n\n# name label", "{file}\t{label}")),
        ("list.txt", table("# made by hand\nimage,label", "{file},{label}")),
        ("list.txt", table("4", "{file} {label}")),
        ("list.txt", table("4", "{file}\t{label}")),
        ("list.txt", table("filename text", "{file} {label}")),
        ("list.txt", table("", "#{file} {label}").replace("#", "")),
        ("labels.tsv", table("file\ttext", "{file}\t{label}")),
        ("labels.tsv", table("", "{file}\t{label}")),
        ("annotations.csv", table("filename,words", "{file},{label}")),
        ("labels.json", json.dumps(LABELS)),
        ("labels.json", json.dumps({f: {"text": t, "width": "9"} for f, t in PAIRS})),
        ("labels.json", json.dumps([{"file_name": f, "text": t} for f, t in PAIRS])),
        ("labels.json", json.dumps({"annotations": [{"image": f, "label": t} for f, t in PAIRS]})),
        ("labels.json", json.dumps(PAIRS)),
        ("labels.json", json.dumps({"file": list(LABELS), "label": EXPECTED})),
        ("x.json", json.dumps({"name": "set", "images": [
            {"filename": f, "label": t, "id": i} for i, (f, t) in enumerate(PAIRS)]})),
        ("x.json", json.dumps({"info": {}, "images": [{"id": 1, "file_name": "img_0.png"}],
                               "annotations": [{"file_name": f, "text": t} for f, t in PAIRS]})),
        ("x.json", json.dumps({str(i): {"file": f, "label": t}
                               for i, (f, t) in enumerate(PAIRS)})),
        ("labels.json", json.dumps({  # as pandas writes by default
            "file": {str(i): f for i, f in enumerate(LABELS)},
            "label": {str(i): t for i, t in enumerate(EXPECTED)}})),
        ("x.json", json.dumps({"info": {}, "data": [{"file": f, "label": t} for f, t in PAIRS]})),
        ("x.json", json.dumps({"info": {}, "labels": LABELS})),
        ("x.json", json.dumps({"images": {f: {"width": 80} for f in LABELS}, "labels": LABELS})),
        ("x.json", json.dumps({"images": dict.fromkeys(LABELS, 7), "labels": LABELS})),
        ("x.json", json.dumps([{"file": f, "label": t, "data": {}, "annotations": []}
                               for f, t in PAIRS])),
        ("x.json", json.dumps([{"id": i, "image": f, "text": t}  # id 1 is not img_1.png
                               for i, (f, t) in enumerate(PAIRS)])),
        ("textrecog_train.json", json.dumps({  # MMOCR
            "metainfo": {"dataset_type": "TextRecogDataset", "task_name": "textrecog"},
            "data_list": [{"img_path": f, "instances": [{"text": t}]} for f, t in PAIRS]})),
        ("x.json", json.dumps({  # COCO captions; the numbers are in another order
            "images": [{"id": 9 - i, "file_name": f} for i, (f, _) in enumerate(PAIRS)],
            "annotations": [{"id": i, "image_id": 9 - i, "caption": t}
                            for i, (_, t) in enumerate(PAIRS)]})),
        ("labels.json", json.dumps([{"file": f, "label": t, "confidence": 0.9} for f, t in PAIRS])),
        ("labels.jsonl", "".join(json.dumps({"file": f, "prediction": t}) + "\n"
                                 for f, t in PAIRS)),
        ("labels.txt", table("| file | label |\n|---|:--|", "| {file} | {label} |")),
        ("x.json", json.dumps([  # characters beside the label
            {"file": f, "label": t, "instances": [{"text": c} for c in t]} for f, t in PAIRS])),
        ("metadata.csv", table("file_name,text", "{file},{label}")),
        ("metadata.jsonl", "".join(json.dumps({"file_name": f, "text": t}) + "\n"
                                   for f, t in PAIRS)),
    ],
)  # fmt: skip
def test_lists_of_other_tools_are_read(images: Path, name: str, text: str) -> None:
    (images / name).write_text(text, newline="")
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert data.origin.startswith(f"{name} (")
    assert data.warnings == ()


@pytest.mark.parametrize("has_objects", [False, True])
def test_json_with_a_member_for_each_part(images: Path, has_objects: bool) -> None:
    parts: dict[str, Any] = {"Train": dict(PAIRS[:3]), "val": dict(PAIRS[3:]), "test": {}}
    if has_objects:
        parts = {
            part: [{"image": f, "text": t} for f, t in of.items()] for part, of in parts.items()
        }
    (images / "labels.json").write_text(json.dumps(parts))
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert data.parts == ("train", "train", "train", "val")
    parts["test"] = {"epoch": 1}
    (images / "labels.json").write_text(json.dumps(parts))
    with pytest.raises(DataError, match="its member 'test' does not name images"):
        load(images)


def test_an_image_can_begin_with_the_sign_of_a_comment(tmp_path: Path) -> None:
    for name in ("#1.png", "2.png"):
        draw("1").save(tmp_path / name)
    (tmp_path / "gt.txt").write_text("# two images\n#1.png ab\n2.png cd\n")
    assert load(tmp_path).labels == ("ab", "cd")


@pytest.mark.parametrize("first", ["gone abc", "see below", "4 images"])
def test_a_first_line_that_is_no_header_is_not_skipped(images: Path, first: str) -> None:
    (images / "gt.txt").write_text(table(first, "{file} {label}"))
    with pytest.raises(DataError, match=r"gt\.txt: not an image, and it does not name images"):
        load(images)


def test_the_middle_of_names_that_is_not_a_word_is_not_the_label(tmp_path: Path) -> None:
    """MJSynth's lists name the text in the file; others look alike, as with a font."""
    numbers = [str(n) for n in range(10_007, 10_067, 10)]
    for middles, is_mjsynth in (
        (["Lube", "lube", "Cat", "dog", "ant", "Bee"], True),
        (["arial", "times"] * 3, False),
        (["site"] * 6, False),
    ):
        rows = [f"{i}_{m}_{n}.png" for i, (m, n) in enumerate(zip(middles, numbers, strict=True))]
        text = "".join(f"{row} {n}\n" for row, n in zip(rows, numbers, strict=True))
        found = label_lists.lines(text, "gt.txt", lambda name: True)
        assert found is not None
        assert [row.label for row in found.rows] == (middles if is_mjsynth else numbers)


@pytest.mark.parametrize("name", ["labels.json", "rec_gt_train.txt"])
def test_lists_beside_the_folder_of_images(below: Path, name: str) -> None:
    if name == "labels.json":  # docTR
        (below / name).write_text(json.dumps(LABELS))
    else:  # PaddleOCR
        (below / name).write_text("".join(f"images/{f}\t{t}\n" for f, t in PAIRS))
    assert list(load(below).labels) == EXPECTED


def test_paddle_lists_name_several_images_with_one_label(images: Path) -> None:
    (images / "gt.txt").write_text('["img_0.png", "img_1.png"]\tab c\nimg_2.png\t"q"\n')
    data = load(images)
    assert data.labels == ("ab c", "ab c", '"q"')


@pytest.mark.parametrize("suffix", [".gt.txt", ".txt", ".TXT"])
def test_a_text_file_for_each_image(images: Path, suffix: str) -> None:
    for file, label in PAIRS:
        (images / file.replace(".png", suffix)).write_text(f"\ufeff{label}\r\n")
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert data.origin == "a text file for each image"


def test_text_files_that_are_no_labels_are_refused(images: Path) -> None:
    for file, text in zip(LABELS, ("ab", "a\nb\n", "", "0 0.5 0.5 0.25 0.1"), strict=True):
        (images / file.replace(".png", ".txt")).write_text(text)
    with pytest.raises(DataError) as error:
        load(images)
    for line in (
        "img_1.png: the text file beside it has 2 lines; write the text in one",
        "img_2.png: its label is empty",
        "img_3.png: the text file beside it has boxes (YOLO)",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labels.json", '{"img_0.png": "1", "img_0.png": "2"}', "listed twice in labels.json"),
        ("labels.json", '{"img_0.png": null}', "its label is None, not a string"),
        ("labels.json", '{"img_0.png": {"polygons": []}}', "entry 1 has polygons"),
        (
            "labels.json",
            '[{"img_path": "img_0.png", "instances": [{"text": "a"}, {"text": "b"}]}]',
            "entry 1 has 2 words",
        ),
        (
            "labels.json",
            '{"img_0.png": {"a": 1, "b": 2}}',
            "no column is named label; its entries have",
        ),
        ("labels.json", '{"img_0.png": "a", "img_1.png": []}', r"entry 2 of labels\.json"),
        ("labels.json", '{"img_0.png": 862.0}', r"labels are floats, such as '862\.0'"),
        ("labels.json", '{"img_0.png": ', r"labels\.json: not an image, nor a label file: .*JSON"),
        (
            "gt.txt",
            "img_0.png\t1\nimg_1.png 2\n",
            r"no tab, so the label is missing \(line 2 of gt\.txt",
        ),
        ("gt.txt", "img_0.png\tab\t0.99\n", r"its line has 3 columns; .* \(line 1 of gt\.txt"),
        ("gt.txt", "img_0.png,Latin,abc\n", "it has no header, so the label column is unknown"),
        ("gt.txt", 'img_0.png\t[{"transcription": "a", "points": []}]\n', r"line 1 has boxes"),
        ("labels.xlsx", "PK", r"labels\.xlsx: .* save it as CSV in UTF-8"),
        ("gt.csv", "PK\x03\x04...", r"gt\.csv is a spreadsheet or an archive; save it as CSV"),
        (
            "gt.txt",
            "{'img_0.png': '39', 'img_1.png': '75'}",
            "has a dictionary; save it as a .json file",
        ),
        (
            "gt.txt",
            "09:26\timg_0.png\ta\tb\n",
            r"the lines of .*gt\.txt have 4 columns; leave only",
        ),
        ("gt.txt", "a1\nb2\n\nc3\nd4\n", "It has a line for each of the 4 images: if they are in"),
        (
            "results.csv",
            "path,text,confidence\nimg_0.png,9,0.9\n",
            "seems to contain readings, not",
        ),
        ("results.csv", "epoch,loss\n1,2\n", r"results\.csv: not an image, nor a label file: "),
    ],
)
def test_other_files_say_what_is_wrong(images: Path, name: str, text: str, reason: str) -> None:
    (images / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        load(images)


def test_members_that_only_some_entries_have(images: Path) -> None:
    """Hugging Face's metadata may give a split to some rows only."""
    rows = [{"file_name": file, "text": text} for file, text in PAIRS]
    for row, split in zip(rows[1:], ("test", "val", None), strict=True):
        row["split"] = split  # type: ignore[assignment]
    (images / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load(images).parts == ("", "test", "val", "")
    (images / "metadata.jsonl").unlink()
    (images / "labels.json").write_text(
        json.dumps({row["file_name"]: {"label": row["text"], "split": None} for row in rows})
    )
    assert load(images).parts == ()


def test_columns_by_row_number_are_joined_by_it(images: Path) -> None:
    columns = {
        "file": {str(i): file for i, file in enumerate(LABELS)},
        "label": {str(i): text for i, text in reversed(list(enumerate(EXPECTED)))},
    }
    (images / "labels.json").write_text(json.dumps(columns))
    assert list(load(images).labels) == EXPECTED
    del columns["label"]["2"]
    (images / "labels.json").write_text(json.dumps(columns))
    with pytest.raises(DataError, match=r"img_2\.png: its label is None, not a string"):
        load(images)


def test_nan_is_a_missing_label(images: Path) -> None:
    rows = [{"file": file, "label": text} for file, text in PAIRS]
    rows[1]["label"] = float("nan")  # type: ignore[assignment]
    (images / "labels.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"img_1\.png: its label is None, not a string"):
        load(images)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labels.jsonl", "[" * 100_000, r"labels\.jsonl is not JSON lines: line 1"),
        ("labels.json", '{"\\ud800.png": "a", "img_0.png": "b"}', "characters that no file name"),
        ("labels.jsonl", '{"id": "img_0.png", "text": "y"}\n[1, 2]\n', "is not an object"),
    ],
)
def test_json_that_is_not_a_list_of_labels(images: Path, name: str, text: str, reason: str) -> None:
    (images / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        load(images)
