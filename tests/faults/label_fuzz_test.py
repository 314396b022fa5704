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
SYMBOL = st.sampled_from(list("ab7,\"'; \t\n\r\v\x1f\x85\u2028\u0301é日\ufeff\\="))
LABELS = st.text(SYMBOL, min_size=1, max_size=4)


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


@fuzz(150)
@given(st.lists(LABELS, min_size=4, max_size=4))
def test_labels_are_read_as_they_were_written(labeled: Path, labels: Any) -> None:
    files = sorted(p.name for p in labeled.glob("*.png"))
    with (labeled / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *zip(files, labels, strict=True)])
    if data := load(labeled):
        assert data.files == tuple(files)
        assert data.texts == tuple(unicodedata.normalize("NFC", label) for label in labels)


@fuzz(150)
@given(edited(['file,label\na.png,ab\nb.png,"a,b"\n"é,.png",7\n'.encode(), b"label;file\n1;a\n"]))
def test_label_files(labeled: Path, content: Any) -> None:
    (labeled / "labels.csv").write_bytes(content)
    if data := load(labeled):
        assert all(data.texts)
        assert all((labeled / file).is_file() for file in data.files)
