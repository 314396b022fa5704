"""Folders as people have them: subfolders, their own parts, and the files that systems leave."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.cli import listing as predicted
from crnn_jax.data import folder as dataset
from crnn_jax.data import listing, resolve, sources, split_report, splits
from crnn_jax.errors import ConfigError, DataError
from tests.helpers.fixtures import CONFIG, MakeConfig
from tests.helpers.images import draw


def save(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path.name.partition("_")[0].partition(".")[0]).save(path)
    return folder


def load(folder: Path, **changes: Any) -> Any:
    return dataset.load(dataclasses.replace(CONFIG, dir=os.fspath(folder), **changes), None, 16)


def parts(data: Any, **changes: Any) -> tuple[set[str], set[str], set[str]]:
    split = splits.split(data.texts, dataclasses.replace(CONFIG, **changes), data.parts)
    train, val, test = ({data.files[i] for i in part.tolist()} for part in split[:3])
    return train, val, test


NAMES = [f"{i}{i + 1}.png" for i in range(12, 24)]


# --------------------------------------------------------------------------- subfolders


def test_images_in_subfolders_are_used_and_counted(tmp_path: Path) -> None:
    save(tmp_path, ["12.png", "a/34.png", "a/b/56.png", "a/b/78.png"])
    data = load(tmp_path)
    assert data.files == ("12.png", "a/34.png", "a/b/56.png", "a/b/78.png")
    assert data.labels == ("12", "34", "56", "78")
    assert data.notes == ("images in subfolders are used: a/ (1), a/b/ (2)",)
    assert listing.labels(tmp_path) == dict(zip(data.files, data.labels, strict=True))
    assert listing.image_files(tmp_path) == list(data.files)


def test_images_in_linked_folders_are_used_once_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "far", ["12.png"])
    save(tmp_path / "set", ["34.png"])
    (tmp_path / "set" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "set")
    assert load(tmp_path / "set").files == ("34.png", "link/12.png")


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "desktop.ini", "DESKTOP.INI", "ehthumbs.db", ".DS_Store", "._12.png", "Icon\r"],
)
def test_files_of_the_system_are_ignored(tmp_path: Path, name: str) -> None:
    save(tmp_path, ["12.png", "a/34.png"])
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / name).write_bytes(b"x")
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._34.png").write_bytes(b"x")
    save(tmp_path, ["__MACOSX/78.png"])
    data = load(tmp_path)
    assert (data.files, data.warnings) == (("12.png", "a/34.png"), ())


def test_images_whose_names_begin_with_a_dot_are_reported(tmp_path: Path) -> None:
    save(tmp_path, ["12.png"])
    for name in (".34.png", ".56.png"):
        draw("1").save(tmp_path / name)
    (warning,) = load(tmp_path).warnings
    assert warning == (
        "2 images whose names begin with a dot: left out, such as .34.png, .56.png; rename them to "
        "use them"
    )
    (tmp_path / "12.png").unlink()
    with pytest.raises(DataError, match=r"contains no images \(2 images whose names begin"):
        load(tmp_path)


def test_a_run_below_is_no_data(tmp_path: Path) -> None:
    save(tmp_path, ["12.png", "runs/first/augmented.png"])
    for name in ("config.json", "environment.json", "readings.csv"):
        (tmp_path / "runs" / "first" / name).write_text("file,truth\n12.png,other\n")
    data = load(tmp_path)
    assert (data.files, data.labels) == (("12.png",), ("12",))


def test_a_stranger_below_is_named(tmp_path: Path) -> None:
    save(tmp_path, ["12.png", "a/34.png"])
    (tmp_path / "a" / "photo.jpgg").write_bytes(b"x")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.md").write_text("no images here")
    with pytest.raises(DataError, match=r"1 file in .*\n  a/photo\.jpgg: not an image"):
        load(tmp_path)


def test_predict_reads_subfolders(tmp_path: Path) -> None:
    save(tmp_path, ["b/34.png", "12.png", "b/c/56.png"])
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    expected = [str(tmp_path / name) for name in ("12.png", "b/34.png", "b/c/56.png")]
    assert list(predicted.expand([str(tmp_path)])) == expected


# ---------------------------------------------------------------------------- own parts


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "valid", "testing"), ("x/train", "x/dev", "x/Test")],
)
def test_folders_of_parts_are_used_as_they_are(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    folders = [train] * 7 + [val] * 3 + [test] * 2
    names = [f"{folder}/{name}" for folder, name in zip(folders, NAMES, strict=True)]
    save(tmp_path, names)
    data = load(tmp_path)
    expected = set(names[:7]), set(names[7:10]), set(names[10:])
    assert parts(data) == parts(data, split_seed=3, val_fraction=0.5, test_size=5) == expected
    found = split_report.notes(data, splits.split(data.texts, CONFIG, data.parts), CONFIG)
    assert "the data set has its own parts, which are used: 3 for validation, 2 for test" in found


def test_without_a_validation_folder_a_part_of_the_training_folder_is_taken(tmp_path: Path) -> None:
    save(tmp_path, [f"train/{n}" for n in NAMES[:10]] + [f"test/{n}" for n in NAMES[10:]])
    train, val, test = parts(load(tmp_path), val_fraction=0.2)
    assert (len(train), len(val), len(test)) == (8, 2, 2)
    assert test == {f"test/{name}" for name in NAMES[10:]}


def test_images_beside_a_validation_folder_are_for_training(tmp_path: Path) -> None:
    save(tmp_path, [*NAMES[:10], *(f"val/{name}" for name in NAMES[10:])])
    assert parts(load(tmp_path))[:2] == (set(NAMES[:10]), {f"val/{n}" for n in NAMES[10:]})


def test_a_folder_of_one_part_is_split(tmp_path: Path) -> None:
    save(tmp_path, [f"train/{name}" for name in NAMES])
    assert len(parts(load(tmp_path), val_fraction=0.25)[1]) == 3
    save(tmp_path / "other", [f"val/{n}" for n in NAMES[:6]] + [f"test/{n}" for n in NAMES[6:]])
    with pytest.raises(DataError, match="so there are no training images"):
        parts(load(tmp_path / "other"))


def test_folds_divide_all_images_but_those_for_testing(tmp_path: Path) -> None:
    save(tmp_path, [f"train/{n}" for n in NAMES[:8]] + [f"val/{n}" for n in NAMES[8:11]]
         + [f"test/{NAMES[11]}"])  # fmt: skip
    data = load(tmp_path)
    folds = [parts(data, num_folds=4, fold=k) for k in range(4)]
    assert set().union(*(val for _, val, _ in folds)) == set(data.files) - {f"test/{NAMES[11]}"}
    assert all(test == {f"test/{NAMES[11]}"} for *_, test in folds)


@pytest.mark.parametrize("column", ["split", "Subset", "usage"])
def test_a_column_gives_the_parts(tmp_path: Path, column: str) -> None:
    save(tmp_path, NAMES)
    kinds = ["train"] * 8 + ["Validation"] * 3 + ["test"]
    rows = [f"{n},{n[:4]},{kind}\n" for n, kind in zip(NAMES, kinds, strict=True)]
    (tmp_path / "labels.csv").write_text(f"file,label,{column}\n" + "".join(rows))
    assert parts(load(tmp_path)) == (set(NAMES[:8]), set(NAMES[8:11]), set(NAMES[11:]))


@pytest.mark.parametrize("style", ["paddle", "doctr", "huggingface"])
def test_label_files_of_parts(tmp_path: Path, style: str) -> None:
    chosen = {"train": NAMES[:9], "val": NAMES[9:11], "test": NAMES[11:]}
    inner = "images/" if style == "doctr" else ""
    for part, names in chosen.items():
        save(tmp_path / part, [inner + name for name in names])
        if style == "paddle":
            rows = [f"{part}/{name}\tL{name[:4]}\n" for name in names]
            (tmp_path / f"rec_gt_{part}.txt").write_text("".join(rows))
        elif style == "doctr":
            pairs = ", ".join(f'"{name}": "L{name[:4]}"' for name in names)
            (tmp_path / part / "labels.json").write_text(f"{{{pairs}}}")
        else:
            rows = [f"{name},L{name[:4]}\n" for name in names]
            (tmp_path / part / "metadata.csv").write_text("file_name,text\n" + "".join(rows))
    data = load(tmp_path)
    expected = [{f"{part}/{inner}{name}" for name in names} for part, names in chosen.items()]
    assert list(parts(data)) == expected
    assert all(label[0] == "L" for label in data.labels)
    assert data.warnings == ()


def test_a_label_file_of_one_part_does_not_label_images_of_another(tmp_path: Path) -> None:
    save(tmp_path, ["train/12.png", "train/34.png", "val/56.png"])
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\n12.png,1\n56.png,2\n")
    (tmp_path / "val" / "metadata.csv").write_text("file_name,text\n56.png,3\n")
    data = load(tmp_path)
    labels = dict(zip(data.files, data.labels, strict=True))
    assert labels == {"train/12.png": "1", "val/56.png": "3"}
    said = "train/metadata.csv and val/metadata.csv"
    assert data.warnings == (
        f"1 row of {said} without an image: left out, such as train/56.png",
        f"1 image without a label in {said}: left out, such as train/34.png",
    )


def test_the_folder_of_another_key_is_the_validation_part(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    for inside in (False, True):
        folder = tmp_path / str(inside)
        save(folder, NAMES[:9])
        other = folder / "mine" if inside else tmp_path / "mine"
        save(other, [NAMES[0], *NAMES[9:]])
        config = tiny_config(data__dir=str(folder), data__val_dir=str(other))
        source = sources.load(config.data, 16)
        files = np.array(source.data.files)
        assert set(files[source.split.train]) == set(NAMES[:9])
        assert set(files[source.split.val]) == {f"data.val_dir/{n}" for n in NAMES[9:] + NAMES[:1]}
        # The image that is in both folders is reported.
        found = split_report.notes(source.data, source.split, config.data)
        assert any("1 of 4 validation images are also in the training part" in n for n in found)
        assert any("1 of 4 validation images have a label that a training" in n for n in found)
        shown = sources.image(config.data, None, "data.val_dir/2324.png")
        assert shown.size == (64, 16)
        assert sources.expected_fingerprint(config.data, 16) == source.data.fingerprint
    width = tiny_config(data__dir=str(folder), data__val_dir=str(other), data__width=0)
    assert resolve.resolve(width).data.width == 96  # of aspect 4: see resolve_test.py


def test_a_validation_folder_that_cannot_be_used_is_named(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    save(tmp_path, NAMES)
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        ("none", "data.val_dir: .*none is not a folder"),
        ("empty", "data.val_dir: .*empty contains no images"),
        (".", "the same folder as data.dir"),
    ):
        config = tiny_config(data__dir=str(tmp_path), data__val_dir=str(tmp_path / folder))
        with pytest.raises(DataError, match=reason):
            sources.load(config.data, 16)
    with pytest.raises(ConfigError, match=r"data\.val_dir must be empty if data\.num_folds is set"):
        tiny_config(data__val_dir="x", data__num_folds=3)
    with pytest.raises(ConfigError, match=r"data\.val_dir must be empty if images are generated"):
        tiny_config(data__val_dir="x", data__source="synthetic")


def test_the_fingerprint_of_a_folder_without_parts_is_as_it_was(tmp_path: Path) -> None:
    """The digest of names, labels and pixels, as of version 0.1; parts are added to it."""
    save(tmp_path, ["12.png", "a/34.png"])

    def digest(*ends: str) -> str:
        found = hashlib.sha256()
        for k, (name, label) in enumerate((("12.png", "12"), ("a/34.png", "34"))):
            pixels = hashlib.sha256(b"L (64, 16) " + draw(label).tobytes()).digest()
            end = [part.encode() for part in ends[k : k + 1]]
            for item in (name.encode(), label.encode(), pixels, *end):
                found.update(len(item).to_bytes(8, "little") + item)
        return found.hexdigest()

    assert load(tmp_path).fingerprint == digest()
    rows = "file,label,split\n12.png,12,train\na/34.png,34,val\n"
    (tmp_path / "labels.csv").write_text(rows)
    assert load(tmp_path).fingerprint == digest("train", "val")


def test_without_labels_the_test_folder_stays_out(tmp_path: Path) -> None:
    """A reader that learns from unlabeled images must not see those of its test."""
    save(tmp_path, [f"train/{n}" for n in NAMES[:8]] + [f"test/{n}" for n in NAMES[8:]])
    data = load(tmp_path, use_labels=False)
    config = dataclasses.replace(CONFIG, use_labels=False)
    split = splits.split(data.texts, config, data.parts)
    assert {data.files[i] for i in split.unlabeled.tolist()} == {f"train/{n}" for n in NAMES[:8]}
    assert {data.files[i] for i in split.test.tolist()} == {f"test/{n}" for n in NAMES[8:]}


def test_an_image_in_the_validation_and_the_test_part_is_reported(tmp_path: Path) -> None:
    save(tmp_path, [f"train/{n}" for n in NAMES[:6]] + [f"val/{n}" for n in NAMES[6:9]])
    save(tmp_path, [f"test/{n}" for n in NAMES[8:]])
    data = load(tmp_path)
    found = split_report.notes(data, splits.split(data.texts, CONFIG, data.parts), CONFIG)
    same = f"such as test/{NAMES[8]}, the same as val/{NAMES[8]}: their scores are too high"
    assert f"1 of 4 test images are also in the validation part, {same}" in found


def test_an_image_with_two_labels_is_reported_in_any_split(tmp_path: Path) -> None:
    """Images are split by label, so one with two labels can be in two parts.

    Their scores are not too high, because at least one of the labels is wrong.
    """
    save(tmp_path, NAMES)
    copies = {f"copy{i}.png": name for i, name in enumerate(NAMES)}
    for copy, name in copies.items():
        (tmp_path / copy).write_bytes((tmp_path / name).read_bytes())
    data, config = load(tmp_path), dataclasses.replace(CONFIG, val_fraction=0.5)
    split = splits.split(data.texts, config, data.parts)
    (note,) = [n for n in split_report.notes(data, split, config) if "pixels" in n]
    assert note.startswith("24 images have the same pixels as another one, but another label, such")
    shown = re.search(r"such as (\S+) \('(\w+)'\) and (\S+) \('(\w+)'\): correct the lab", note)
    assert shown is not None
    labels = dict(zip(data.files, data.labels, strict=True))
    assert labels[shown[1]] == shown[2] != labels[shown[3]] == shown[4]
    assert copies.get(shown[1], shown[1]) == copies.get(shown[3], shown[3])
    assert not any("scores" in n for n in split_report.notes(data, split, config))
