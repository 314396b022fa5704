"""Tables of labels, and which label file is read."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from crnn_jax.data import folder as dataset
from crnn_jax.data import label_shapes
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw
from tests.helpers.labeled_images import EXPECTED, LABELS, load, table

# ------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "text",
    [
        table("file,label", "{file},{label}"),
        table("File,Label", "{file},{label}"),
        table(" FILE , LABEL ", "{file},{label}"),
        table("filename,text", "{file},{label}"),
        table("file_name,text", "{file},{label}"),
        table("image,text", "{file},{label}"),
        table("filename,label", "{file},{label}"),
        table("path,words", "{file},{label}"),
        table("Image Path,Ground Truth", "{file},{label}"),
        table("text,filename", "{label},{file}"),
        table("file_name,what_it_says", "{file},{label}"),
        table("picture no.,solution", "{file},{label}"),
        table("foo,bar", "{file},{label}"),
        table(",filename,label", "7,{file},{label}"),  # with the index of pandas
        table("id,filename,width,height,label", "9,{file},64,16,{label}"),
        table("", "{file},{label}"),
        table("", "{label},{file}"),
        table("file;label", "{file};{label}"),
        table("file\tlabel", "{file}\t{label}"),
        table("file|label", "{file}|{label}"),
        table("", "{file};{label}"),
        table("sep=;\nfile;label", "{file};{label}"),
        table('"file","label"', '"{file}","{label}"'),
        table("'file','label'", "'{file}','{label}'"),
        table("file, label", '{file}, "{label}"'),
        table("file,label", "{file}   ,  {label}"),
        table("file,label", "{file},{label} "),
        table("# aligned\n\nfile,label", "{file} ,{label}"),
        table("# made by hand\nfile,label", "{file},{label}"),
        table("# by hand, by me\n#\n", "{file};{label}"),
        table("# labels, by me\nfile;label", "{file};{label}"),
        table("#file,label", "{file},{label}"),
        table("#,file,label", "1,{file},{label}"),
        table("file,label", "{file},{label}").replace("img_2", "# second batch\nimg_2"),
        table("file,label", "{file},{label}").replace("img_2", "# a, b\nimg_2"),
        table("file;label", '{file};="{label}"'),
        table("file,label", "./{file},{label}"),
        table("file,label", "C:\\Users\\me\\{file},{label}"),
        table("file,label", "/home/me/captchas/{file},{label}"),
        table("file,label", "..\\captchas\\{file},{label}"),
        table("file,label", "{file},{label}").replace("img", "IMG"),
        table("file,label", "{file},{label}").replace(".png", ""),
        table("file,label", "{file},{label}").replace("\n", "\r\n"),
        table("file,label", "{file},{label}").replace("\n", "\r"),
        table("file,label", "{file},{label}").replace("\n", "\n\n"),
    ],
)
def test_tables_are_read(images: Path, text: str) -> None:
    (images / "labels.csv").write_text(text, newline="")
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert "labels.csv (a table" in data.origin


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_every_unicode_encoding_is_read(images: Path, encoding: str) -> None:
    labels = {"img_0.png": "é1", "img_1.png": "日2", "img_2.png": "x", "img_3.png": "y"}
    text = table("file,label", "{file},{label}", labels)
    (images / "labels.csv").write_bytes(text.encode(encoding))
    assert list(load(images).labels) == list(labels.values())


def test_another_encoding_is_refused_with_the_line(images: Path) -> None:
    text = table("file,label", "{file},{label}").replace("75", "é")
    (images / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv is not UTF-8: line 4: .*save it as UTF-8"):
        load(images)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("number,note\n1,a\n", "must begin with the header file,label"),
        ("My captchas,\n,\nfile,label\nimg_0.png,862\n",
         r"'My captchas', ''\] .*; remove the lines above the header 'file,label'"),
        ("My captchas\nimage;text\nimg_0.png;862\n",
         r"'My captchas'\]; remove the lines above the header 'image;text'"),
        (table("file,label,text", "{file},{label},x").replace("file,label,text", "file,text,word"),
         "'text' and 'word' can be the label; rename one of them to label"),
        (table("", "{file},{label},x"), "it has no header, so the label column is unknown"),
        (table("file,label", "{file},{label}").replace("75", ""),
         r"img_2\.png: its label is empty \(line 4 of labels\.csv\)"),
        ("file,label\n", r"no image in .* has a label \(4 images without a label in labels\.csv"),
        (table("file,label", "{file},{label}") + "img_9.png,1,2\n", "line 6 of labels.csv"),
        (table("file,label", "{file},{label}").replace("75", " 75"),
         r"its label ' 75' begins or ends with white space; remove it \(line 4"),
        (table("file,label", "{file},{label}").replace("img_2.png,75", "#5.png"),
         r"#5\.png: its label is empty: fewer fields than the header \(line 4"),
        (table("file,label,split", "{file},{label},maybe"),
         r"its split is 'maybe'; write train, val or test \(line 2"),
    ],
)  # fmt: skip
def test_tables_that_are_not_understood_say_what_to_change(
    images: Path, text: str, reason: str
) -> None:
    (images / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        load(images)


def test_paths_of_windows_and_of_other_machines_lead_into_subfolders(below: Path) -> None:
    for row in ("images\\{file}", "{file}", "D:\\set\\images\\{file}", "/data/set/images/{file}"):
        (below / "labels.csv").write_text(table("file,label", row + ",{label}"))
        data = load(below)
        assert list(data.labels) == EXPECTED
        assert data.files == tuple(f"images/{name}" for name in LABELS)


def test_a_name_in_two_folders_is_refused_and_another_folder_is_not_guessed(tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        draw("1").save(tmp_path / part / "x.png")
    draw("1").save(tmp_path / "b" / "y.png")
    (tmp_path / "labels.csv").write_text("file,label\nx.png,1\nb/y.png,1\n")
    with pytest.raises(
        DataError, match=r"both a/x\.png and b/x\.png; write the full path \(line 2"
    ):
        load(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\na/y.png,1\n")
    with pytest.raises(DataError, match=r"no such file; there is b/y\.png \(line 2 of labels\.csv"):
        load(tmp_path)


def test_rows_without_an_image_and_images_without_a_row_are_counted(images: Path) -> None:
    for name in ("more_1.png", "more_2.png"):
        draw("1").save(images / name)
    (images / "labels.csv").write_text(table("file,label", "{file},{label}") + "gone.png,1\n")
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert data.warnings == (
        "1 row of labels.csv without an image: left out, such as gone.png",
        "2 images without a label in labels.csv: left out, such as more_1.png, more_2.png",
    )


# ------------------------------------------------------------------- what pandas makes of digits


@pytest.mark.parametrize(
    "labels", [["862178.0", "1013.0"], ['"862178,0"', '"7,0"'], ["862178.0", "", "0564.0"]]
)
def test_floats_are_refused(images: Path, labels: list[str]) -> None:
    rows = zip(LABELS, labels, strict=False)
    (images / "labels.csv").write_text("file,label\n" + "".join(f"{f},{t}\n" for f, t in rows))
    with pytest.raises(DataError, match=r"labels are floats, such as '862178[.,]0'; .*dtype=str"):
        load(images)


def test_exponents_are_refused() -> None:
    found = label_shapes.damaged_numbers(["1.23E+11", "123456", "4E+10", "7"])
    assert found is not None
    assert "2 labels have an exponent, such as '1.23E+11'" in found


def test_lost_zeros_are_refused_unless_the_labels_are_in_quotes(tmp_path: Path) -> None:
    # Numbers below 100,000 that begin with a zero one time in ten: 40 without one are not random.
    numbers = [str(n) for n in (*range(10_203, 10_238), 203, 564, 7289, 3785, 9115)]
    for number in numbers:
        draw(number).save(tmp_path / f"i{number}.png")
    rows = "".join(f"i{n}.png,{n}\n" for n in numbers)
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    with pytest.raises(DataError, match=r"lost leading zeros; .*put them in quotes: \"203"):
        load(tmp_path)
    rows = "".join(f'i{n}.png,"{n}"\n' for n in numbers)
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
    assert sorted(load(tmp_path).labels) == sorted(numbers)


@pytest.mark.parametrize(
    "labels",
    [
        [f"{n:05d}" for n in range(40)],  # with zeros
        [str(n) for n in range(11_000, 11_040)],  # of one length
        [f"{n}a" for n in range(90, 130)],
        ["12", "345"],  # too few to tell
    ],
)
def test_whole_digits_are_not_doubted(labels: list[str]) -> None:
    assert label_shapes.damaged_numbers(labels) is None


# ------------------------------------------------------------------------ several label files


def test_labels_csv_hides_other_label_files_and_says_so(images: Path) -> None:
    (images / "labels.csv").write_text(table("file,label", "{file},{label}"))
    (images / "val.csv").write_text(table("file,label", "{file},other"))
    data = load(images)
    assert list(data.labels) == EXPECTED
    assert data.warnings == ("labels.csv is read, and no other label file: val.csv",)


def test_two_label_files_that_disagree_are_refused(images: Path) -> None:
    (images / "a.json").write_text(json.dumps(LABELS))
    (images / "b.json").write_text(json.dumps(LABELS))
    assert list(load(images).labels) == EXPECTED
    (images / "b.json").write_text(json.dumps(LABELS | {"img_1.png": "other"}))
    with pytest.raises(
        DataError, match=r"img_1\.png: its label in a\.json is '0129' \(entry 2 of b"
    ):
        load(images)


def test_a_pattern_that_a_label_file_makes_useless_is_reported(images: Path) -> None:
    (images / "labels.csv").write_text(table("file,label", "{file},{label}"))
    config = dataclasses.replace(CONFIG, dir=os.fspath(images), label_pattern="(.+)")
    (warning,) = dataset.load(config, None, 16).warnings
    assert warning.startswith("data.label_pattern is not used, because the labels are from labels")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    for name in ("a.eps", "b.eps", "c.heic"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"no images \(it has other files: 2 \.eps, 1 \.heic\)$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        ("data.mdb lock.mdb", "2 .mdb; write the images and labels of the LMDB database to files"),
        ("data.arrow", "1 .arrow; save the data set as parquet first"),
        ("0.tar 1.TAR", "2 .tar; unpack archives first"),
        ("a.zip b.tgz", "1 .zip, 1 .tgz; unpack archives first)"),
        ("226md 22d5n", "2 without an extension; add the extension"),
    ],
)
def test_data_in_another_form_says_what_to_do(tmp_path: Path, names: str, advice: str) -> None:
    for name in names.split():
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=re.escape(advice)) as error:
        load(tmp_path)
    assert "default set" not in str(error.value)


def test_a_path_that_is_no_folder_says_what_to_do(tmp_path: Path) -> None:
    for name, reason in (
        ("none", "there is no folder .*none$"),
        ("set.zip", r"set\.zip is a file, not a folder of images; unpack it first$"),
        ("a.png", r"a\.png is a file, not a folder of images$"),
    ):
        if name != "none":
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match=reason):
            load(tmp_path / name)
    with pytest.raises(DataError, match="there is no folder ~/x; write the whole path, because"):
        load(Path("~/x"))


def test_a_split_whose_first_cell_is_blank(images: Path) -> None:
    text = table("file,label,subset", "{file},{label},test").replace("862,test", "862,")
    (images / "labels.csv").write_text(text)
    assert load(images).parts == ("", "test", "test", "test")


def test_a_table_without_header_and_extensions_keeps_its_first_row(images: Path) -> None:
    (images / "labels.csv").write_text(table("", "{file},{label}").replace(".png", ""))
    assert list(load(images).labels) == EXPECTED


def test_a_label_file_that_cannot_be_used_is_mentioned(below: Path) -> None:
    """Then the labels are from the file names."""
    text = table("file;label", "{file};{label}é")
    (below / "annotations.csv").write_bytes(text.encode("latin-1"))
    (below / "notes.json").write_text('{"lr": 0.1}')  # no label files at all
    (below / "results.csv").write_text("epoch,loss\n1,0.5\n")
    (below / "settings.xml").write_text("<a/>")
    (warning,) = load(below).warnings
    assert warning.startswith("annotations.csv is not used: ")
    assert "is not UTF-8: line 2" in warning


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "val.csv",
            "file,label\nimg_0.png,é\n".encode("latin-1"),
            r"val\.csv is not UTF-8: line 2",
        ),
        ("part.val.txt", b"\xff", r"val\.txt is not UTF-8: line 1"),
        ("labels.json", b'{"img_0.png": ', r"labels\.json is not JSON: "),
        ("val.parquet", b"PAR1", r"val\.parquet is not a readable parquet file"),
    ],
)
def test_a_damaged_label_file_beside_others_is_an_error(
    below: Path, name: str, content: bytes, reason: str
) -> None:
    """Without it, the run would have no validation images, or other ones."""
    (below / "train.csv").write_text(table("file,label", "{file},{label}"))
    (below / "notes.txt").write_bytes(b"\xff")  # not named like labels
    (below / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{reason}.*\. Or remove it, to read only train\.csv$"):
        load(below)
    (below / name).unlink()
    assert "notes.txt is not used" in load(below).warnings[0]


def test_a_spreadsheet_above_the_images_is_mentioned(below: Path) -> None:
    (below / "labels.xlsx").write_bytes(b"PK")
    assert load(below).warnings == (
        "labels.xlsx is not used: if it has the labels, save it as CSV in UTF-8",
    )


def test_a_row_whose_label_begins_with_a_hash_is_no_comment(images: Path) -> None:
    rows = "".join(f"# {k},img_{k}\n" for k in range(4))
    (images / "labels.csv").write_text(f"label,file\n{rows}")
    assert list(load(images).labels) == [f"# {k}" for k in range(4)]
