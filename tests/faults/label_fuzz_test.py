"""Odd labels and mutated label files: the right labels, or a DataError."""

import csv
import dataclasses
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_jax import config as config_lib
from crnn_jax.data import folder as dataset
from crnn_jax.errors import DataError
from experiments import tiny
from tests.helpers.fuzzing import check_message, edited, fuzz
from tests.helpers.images import draw

SECTION = config_lib.from_dict(tiny.get_config().to_dict()).data
PLAIN = "ab7,\"';é日\\"  # symbols of which every label can consist
ODD = "= \t\n\r\v\x1f\x85\u2028\u0301\ufeff"
PLAIN_LABELS = st.text(st.sampled_from(PLAIN), min_size=1, max_size=4)
LABELS = st.text(st.sampled_from(PLAIN + ODD), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four images without a label file."""
    folder = tmp_path_factory.mktemp("labeled")
    for name in ("a.png", "b.png", "c d.png", "é,.png"):
        draw("ab").save(folder / name)
    return folder


def load(folder: Path) -> Any:
    section = dataclasses.replace(SECTION, dir=str(folder), source="folder")
    try:
        return dataset.load(section, None, 16)
    except DataError as error:
        check_message(error)
        return None


def test_labels_are_read_as_they_were_written(labeled: Path) -> None:
    files = sorted(p.name for p in labeled.glob("*.png"))
    were_read: list[bool] = []

    @fuzz(150)
    @given(
        st.lists(PLAIN_LABELS, min_size=4, max_size=4) | st.lists(LABELS, min_size=4, max_size=4)
    )
    def check(labels: Any) -> None:
        with (labeled / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "label"), *zip(files, labels, strict=True)])
        data = load(labeled)
        were_read.append(data is not None)
        if data:
            assert data.files == tuple(files)
            # Spaces at the same side of all labels align a column.
            if any(all(label[end] == " " for label in labels) for end in (0, -1)):
                labels = [label.strip(" ") for label in labels]
            assert data.texts == tuple(unicodedata.normalize("NFC", label) for label in labels)
        else:
            assert not set("".join(labels)) <= set(PLAIN)

    check()
    assert were_read.count(True) > 40
    assert were_read.count(False) > 40


def test_label_files(labeled: Path) -> None:
    were_read: list[bool] = []
    contents = ['file,label\na.png,ab\nb.png,"a,b"\n"é,.png",7\n'.encode(), b"label;file\n1;a\n"]

    @fuzz(150)
    @given(edited(contents))
    def check(content: Any) -> None:
        (labeled / "labels.csv").write_bytes(content)
        data = load(labeled)
        were_read.append(data is not None)
        if data:
            assert all(data.texts)
            assert all((labeled / file).is_file() for file in data.files)

    check()
    assert were_read.count(True) > 15
    assert were_read.count(False) > 40
