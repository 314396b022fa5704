"""Label files: each image has one label, each row is used once, and bad rows are named."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import DataConfig
from crnn_jax.data import folder as dataset
from crnn_jax.data import label_rows, listing, splits
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw


def load(folder: Path) -> Any:
    return dataset.load(dataclasses.replace(CONFIG, dir=os.fspath(folder)), None, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.png", "2.png", "3.png", "A.png", "a.png", "\u00e9.png"):
        draw("a").save(tmp_path / name)
    (tmp_path / "sub").mkdir()
    draw("b").save(tmp_path / "sub" / "1.png")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("file,label\n1.png,ab\n2.png,ab\0\n", r"2\.png: its label 'ab\\x00' has .*line 3"),
        (
            "file,label\n1.png,a\x1bb\n",
            r"1\.png: its label .* control characters .*; remove them .*line 2",
        ),
        (
            "file,label\n1.png,a\u2028b\n",
            r"1\.png: its label .* line breaks or .* text in one line",
        ),
        ('file,label\n1.png,"a\r\nb"\n', r"1\.png: its label .*; write the text in one line"),
        ("file,label\n1.png,a\n./1.png,b\n", r"\./1\.png: listed twice .*lines 2 and 3"),
        ("file,label\nsub/1.png,a\n2.png,b\nsub//1.png,b\n", r"listed twice .*lines 2 and 4"),
        ("file,label\nsub/1.png,a\nsub/./1.png,a\n", r"listed twice .*lines 2 and 3"),
        ("file,label\n1.png,a\n1.png/,a\n", r"listed twice .*lines 2 and 3"),
        ("file,label\n\u00e9.png,a\ne\u0301.png,b\n", r"listed twice .*lines 2 and 3"),
        ("file,label,label\n1.png,a,b\n", r"each column once; it has .*label"),
        ("file,label,file\n1.png,a,2.png\n", r"each column once"),
        ("file,label,note\n1.png,a\n", r"1\.png: fewer fields than the header; write the del"),
        ("note,file,label\nx,1.png\n", r"1\.png: its label is empty: fewer fields"),
        ("file,label\n,a\n1.png,b\n", r"its file name is empty \(line 2"),
        ("file,label\n1\0.png,a\n", r"1\\x00\.png: its file name has char"),
        ("file,label\n1.png," + "a" * 200_000 + "\n", r"line 2: field larger than field limit"),
        ("file,label\n1.png,a\n\x1b[31m\n.png,b\n", r"  \\x1b\[31m: "),
        ('file,label\n1.png,a\n2.png,"b\n3.png,c\n', r"line 3: a quote that opens here is never"),
        ('file,label\n\n1.png,"a\n2.png,"b\n', r"line 4: .*expected.* row that begins on line 3"),
        ("x" * 100_000 + ",label\n", r"must begin with the header .{30,400}$"),
    ],
)
def test_rows_that_cannot_be_used_are_named(folder: Path, content: str, reason: str) -> None:
    (folder / "labels.csv").write_text(content, newline="")
    with pytest.raises(DataError, match=reason) as error:
        load(folder)
    message = str(error.value)
    assert len(message) < 2000
    assert "\x1b" not in message
    assert "\0" not in message


def test_names_that_differ_in_case_and_hard_links_are_different_files(folder: Path) -> None:
    os.link(folder / "1.png", folder / "link.png")
    (folder / "labels.csv").write_text("file,label\na.png,a\nA.png,b\n1.png,c\nlink.png,d\n")
    assert load(folder).texts == ("c", "b", "a", "d")  # in the order of the names


def test_a_labels_file_that_is_no_file_is_named(folder: Path) -> None:
    path = folder / "labels.csv"
    makers: tuple[Callable[[], object], ...] = (
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(folder / "nowhere"),
        lambda: path.symlink_to(path),
    )
    for make in makers:
        make()
        with pytest.raises(DataError, match=r"labels\.csv cannot be read: ") as error:
            load(folder)
        assert "\n" not in str(error.value)
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "real.csv").write_text("file,label\n1.png,a\n")
    path.symlink_to(folder / "real.csv")
    assert load(folder).texts == ("a",)


def test_messages_and_work_are_bounded_for_many_bad_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{i}.jpg,a\0\n" for i in range(50_000))
    (folder / "labels.csv").write_text("file,label\n" + rows)
    with pytest.raises(DataError, match="at least 10001 files") as error:
        load(folder)
    assert str(error.value).count("\n") == 51
    monkeypatch.setattr(label_rows, "MAX_ROWS", 10)
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{i},a\n" for i in range(20)))
    with pytest.raises(DataError, match="more than 10 rows"):
        load(folder)


@pytest.mark.parametrize("name", ["a\x1bb_1.png", "a\nb.png"])
def test_control_characters_in_a_file_name_are_no_label(tmp_path: Path, name: str) -> None:
    draw("a").save(tmp_path / name)
    with pytest.raises(DataError, match="control characters"):
        load(tmp_path)


def test_more_memory_than_there_is_refuses_an_image_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "labels.csv").write_text("file,label\n1.png,a\n2.png,b\n")
    read = dataset.to_array

    def fail(image: Image.Image, config: DataConfig) -> Any:
        if not failed:
            failed.append(image)
            raise MemoryError
        return read(image, config)

    failed: list[Any] = []
    monkeypatch.setattr(dataset, "to_array", fail)
    with pytest.raises(DataError, match=r"1 file in .*\n.*more memory than is available"):
        load(folder)


# ------------------------------------------------------------------------------ the split


def _as_published(texts: Any, config: DataConfig) -> tuple[Any, Any]:
    """The split of the published figures, which shuffles the sorted labels themselves."""
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(text, []).append(index)
    shuffled = np.random.default_rng(config.split_seed).permutation(sorted(groups))
    num_val = len(texts) - int(len(texts) * (1 - config.val_fraction))
    train: list[int] = []
    val: list[int] = []
    start = 0
    for text in shuffled:
        is_val = (
            start * config.num_folds // len(texts) == config.fold
            if config.num_folds
            else start < num_val
        )
        (val if is_val else train).extend(groups[text])
        start += len(groups[text])
    return train, sorted(val)


def test_the_split_of_the_real_set_is_the_published_one(real_set: Path) -> None:
    texts = [listing.label_of(name) for name in sorted(os.listdir(real_set))]
    assert len(texts) == 936
    seeds: list[dict[str, Any]] = [{"split_seed": seed} for seed in range(5)]
    for changes in seeds + [{"num_folds": 10, "fold": k} for k in range(10)]:
        config = dataclasses.replace(CONFIG, **changes)
        train, val, *_ = splits.split(texts, config)
        assert (train.tolist(), val.tolist()) == _as_published(texts, config)


def test_texts_of_unequal_length_are_split_as_published() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab日é"), rng.integers(1, 9))) for _ in range(500)]
    train, val, *_ = splits.split(texts, CONFIG)
    assert (train.tolist(), val.tolist()) == _as_published(texts, CONFIG)


def test_texts_that_end_in_nul_are_used_once_each() -> None:
    """numpy strings drop trailing NULs, so that 'a' and 'a\0' would be equal."""
    texts = [text + end for text in "abcdefghij" for end in ("", "\0", "\0\0")]
    split = splits.split(texts, CONFIG)
    assert sorted([*split.train, *split.val]) == list(range(30))
