"""labels.csv: read back with Python's csv and with the code that training uses."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crnn_jax.data import listing
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, RunError
from crnn_jax.labeling.store import LabelFile, normalized
from tests.helpers.fixtures import CONFIG
from tests.helpers.labeled_images import LABELS, save

ROOT = Path(__file__).resolve().parents[2]


def rows(folder: Path) -> list[list[str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def trained_on(folder: Path) -> dict[str, str]:
    """The labels that a training on the folder uses."""
    found = listing.checked(dataclasses.replace(CONFIG, dir=os.fspath(folder))).labels
    return {os.path.normpath(file): label for file, label in found.items()}


def test_labels_are_saved_one_by_one_and_training_reads_them(tmp_path: Path) -> None:
    store = LabelFile(Tree(save(tmp_path)))
    assert store.labels == {}
    assert not (tmp_path / "labels.csv").exists()
    for count, (file, label) in enumerate(LABELS.items(), 1):
        store.add(file, label)
        assert rows(tmp_path) == [["file", "label"], *map(list, list(LABELS.items())[:count])]
    assert trained_on(tmp_path) == LABELS  # digits with their zeros
    store.add("img_0.png", 'a"b,ü')  # replaces
    store.remove("img_2.png")
    expected = {k: v for k, v in LABELS.items() if k != "img_2.png"} | {"img_0.png": 'a"b,ü'}
    assert trained_on(tmp_path) == expected == store.labels
    assert LabelFile(Tree(tmp_path)).labels == expected
    store.remove("img_2.png")  # has none


def test_digits_of_several_lengths_are_text_and_no_damaged_numbers(tmp_path: Path) -> None:
    # Forty such labels without quotes would seem to have lost leading zeros.
    labels = {f"{n}.png": str(80 + n) for n in range(40)}
    for file in labels:
        (tmp_path / file).write_bytes(b"")
    store = LabelFile(Tree(tmp_path))
    for file, label in labels.items():
        store.add(file, label)
    assert trained_on(tmp_path) == labels


@pytest.mark.parametrize(
    "start",
    [
        "file,label\nimg_0.png,862",  # without a line end
        "\ufefffile;label;split\r\nimg_0.png;862;train\r\n",
        "sep=;\nfile;label\nimg_0.png;862\n",
        "note,Image,text\nold,./img_0.png,862\n\n",
        "img_0.png\t862\n",
        "'file','label'\n'img_0.png','862'\n",
    ],
)
def test_an_existing_file_is_continued_in_its_own_form(tmp_path: Path, start: str) -> None:
    save(tmp_path)
    (tmp_path / "labels.csv").write_bytes(start.encode())
    store = LabelFile(Tree(tmp_path))
    assert store.labels == {"img_0.png": "862"}
    store.add("img_1.png", "0129")
    content = (tmp_path / "labels.csv").read_bytes().decode()
    assert content.startswith(start)  # every byte of the user's is kept
    assert content.count("\r\n") == (content.count("\n") if "\r\n" in start else 0)
    assert trained_on(tmp_path) == {"img_0.png": "862", "img_1.png": "0129"}
    store.remove("img_1.png")
    store.remove("img_0.png")
    assert LabelFile(Tree(tmp_path)).labels == {}


def test_changes_of_another_program_are_kept(tmp_path: Path) -> None:
    store = LabelFile(Tree(save(tmp_path)))
    store.add("img_0.png", "862")
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("img_3.png,0330\n")
    store.add("img_1.png", "0129")
    assert store.labels == {"img_0.png": "862", "img_1.png": "0129", "img_3.png": "0330"}
    assert trained_on(tmp_path) == store.labels
    (tmp_path / "labels.csv").unlink()
    store.add("img_2.png", "75")  # the others are still known
    assert trained_on(tmp_path) == LABELS
    (tmp_path / "labels.csv").write_text("nonsense")
    with pytest.raises(DataError, match="must begin with the header"):
        store.add("img_2.png", "76")
    assert (tmp_path / "labels.csv").read_text() == "nonsense"


@pytest.mark.parametrize("content", ["", "\n", "file,label\n"])
def test_labels_are_kept_if_another_program_empties_the_file(tmp_path: Path, content: str) -> None:
    store = LabelFile(Tree(save(tmp_path)))
    store.add("img_0.png", "862")
    (tmp_path / "labels.csv").write_text(content)
    # As an editor does while it saves. A header alone is a wish of the user.
    kept = {} if "file" in content else {"img_0.png": "862"}
    assert store.refresh() == (not kept)
    assert store.labels == kept
    store.add("img_1.png", "0129")
    assert trained_on(tmp_path) == store.labels == {**kept, "img_1.png": "0129"}


def test_labels_that_a_new_file_would_hide_are_an_error(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "gt.txt").write_text("img_0.png\t862\n")
    with pytest.raises(DataError, match=r"has labels in gt\.txt .* would hide"):
        LabelFile(Tree(tmp_path))
    (tmp_path / "gt.txt").unlink()
    (tmp_path / "labels.csv").write_text("file,label\nimg_0.png,1\nimg_0.png,2\n")
    with pytest.raises(DataError, match="listed twice"):
        LabelFile(Tree(tmp_path))
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(RunError, match="is a symbolic link"):
        LabelFile(Tree(tmp_path))


def test_a_label_that_cannot_be_written_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelFile(Tree(save(tmp_path)))
    store.add("img_0.png", "862")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left on device; make room"):
            store.add("img_1.png", "0129")
    assert rows(tmp_path) == [["file", "label"], ["img_0.png", "862"]]
    assert store.labels == {"img_0.png": "862"}
    store.add("img_1.png", "0129")
    assert len(rows(tmp_path)) == 3


LABELER = """
import sys
from pathlib import Path
from crnn_jax.data.tree import Tree
from crnn_jax.labeling.store import LabelFile

folder = Path(sys.argv[1])
tree = Tree(folder)
store = LabelFile(tree)
for file in tree.images:
    if file not in store.labels:
        store.add(file, file[:4])
        print(file, flush=True)
"""


def test_a_killed_process_loses_no_label_that_it_had_confirmed(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}.png").write_bytes(b"")
    confirmed: set[str] = set()
    for count in (1, 20, 47, 90):
        process = subprocess.Popen(
            [sys.executable, "-c", LABELER, os.fspath(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout
        for _ in range(count):
            confirmed.add(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        confirmed |= set(process.stdout.read().split())
        process.wait()
        process.stdout.close()
        header, *found = rows(tmp_path)
        assert header == ["file", "label"]
        assert all(label == file[:4] for file, label in found)
        assert len({file for file, _ in found}) == len(found)
        assert confirmed <= {file for file, _ in found}
    assert len(confirmed) >= 158


def test_labels_are_composed_and_stripped() -> None:
    assert normalized(" e\u0301b \n") == "\u00e9b"


def test_a_table_with_blank_labels_is_filled_in(tmp_path: Path) -> None:
    """Such as a spreadsheet of all file names, whose images are still to be labeled."""
    (tmp_path / "set").mkdir()
    folder = save(tmp_path / "set")
    text = "file,label,split\n" + "".join(f"{file},,test\n" for file in LABELS)
    (folder / "labels.csv").write_text(text)
    store = LabelFile(Tree(folder))
    assert store.labels == {}
    for file, label in list(LABELS.items())[:2]:
        store.add(file, label)
    assert store.labels == LabelFile(Tree(folder)).labels == dict(list(LABELS.items())[:2])
    assert len(rows(folder)) == 1 + len(LABELS)  # each file has one row
    store.remove("img_0.png")
    assert LabelFile(Tree(folder)).labels == {"img_1.png": LABELS["img_1.png"]}
    table = {row[0]: row[1:] for row in rows(folder)[1:]}
    assert table.pop("img_1.png") == [LABELS["img_1.png"], "test"]
    assert table == {file: ["", "test"] for file in LABELS if file != "img_1.png"}


def test_a_column_called_like_an_image_is_no_row_of_it(tmp_path: Path) -> None:
    for name in ("image.png", "a.png"):
        (tmp_path / name).write_bytes(b"")
    header = "sep=,\nimage,text,note\n"
    (tmp_path / "labels.csv").write_text(f"{header}a.png,abcd,hello\n")
    store = LabelFile(Tree(tmp_path))
    store.add("image.png", "xy")
    store.remove("image.png")
    assert (tmp_path / "labels.csv").read_text() == f"{header}a.png,abcd,hello\n"


def test_a_table_of_names_without_extensions_is_continued(tmp_path: Path) -> None:
    for name in ("000001.png", "000002.png", "000003.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text("000001,abcd\n000002,efgh\n")
    store = LabelFile(Tree(tmp_path))
    store.add("000003.png", "ijkl")
    assert LabelFile(Tree(tmp_path)).labels == {
        "000001.png": "abcd", "000002.png": "efgh", "000003.png": "ijkl",
    }  # fmt: skip
