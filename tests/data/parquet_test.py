"""Labels and images in parquet files."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from crnn_jax.errors import DataError
from tests.helpers.empty_images import create, listed
from tests.helpers.labeled_images import EXPECTED, LABELS, load, table

FILES = [f"{n}.png" for n in range(8)]
WORDS = ["qk3a", "mm2x", "b7ca", "zz0p", "r4ta", "w9wd", "c1oe", "yh5f"]


def test_parquet_with_the_images_inside(tmp_path: Path, images: Path) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    names = list(LABELS)
    for part, chosen in (("train", names[:3]), ("validation", names[3:])):
        values = [{"bytes": (images / name).read_bytes(), "path": name} for name in chosen]
        columns = {"image": values, "text": [LABELS[name] for name in chosen]}
        parquet.write_table(pyarrow.table(columns), folder / f"{part}-00000-of-00001.parquet")
    data = load(folder)
    assert list(data.labels) == EXPECTED
    assert data.parts == ("train", "train", "train", "val")
    assert (data.images == load_images(images)).all()
    columns = {"file_name": [str(images / name) for name in names], "text": EXPECTED}
    parquet.write_table(pyarrow.table(columns), images / "list.parquet")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert list(load(images).labels) == EXPECTED


def load_images(folder: Path) -> Any:
    (folder / "labels.csv").write_text(table("file,label", "{file},{label}"))
    found = load(folder).images
    (folder / "labels.csv").unlink()
    return found


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"train\.parquet needs pyarrow: pip install pyarrow"):
        load(tmp_path)


def save(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> None:
    made = pyarrow.table(columns)
    if features:
        content = json.dumps({"info": {"features": features}})
        made = made.replace_schema_metadata({b"huggingface": content.encode()})
    content_of_file = io.BytesIO()
    parquet.write_table(made, content_of_file)
    path.write_bytes(content_of_file.getvalue())


def test_class_numbers_in_parquet_are_the_texts_that_its_metadata_names(tmp_path: Path) -> None:
    create(tmp_path, "0.png 1.png 2.png")
    features = {
        "label": {"_type": "ClassLabel", "names": ["zero", "ab", "cd"]},
        "part": {"_type": "ClassLabel", "names": ["train", "test"]},
    }
    columns = {"file_name": FILES[:3], "label": [2, 1, 2], "part": [1, 0, 0]}
    save(tmp_path / "list.parquet", columns, features)
    found = listed(tmp_path)
    assert list(found.labels.values()) == ["cd", "ab", "cd"]
    assert list(found.parts.values()) == ["test", "train", "train"]
    save(tmp_path / "list.parquet", {**columns, "label": [2, 1, -1]}, features)  # -1: no label
    with pytest.raises(DataError, match=r"2\.png: its label is None, not a string \(row 3"):
        listed(tmp_path)


def test_a_column_of_texts_in_parquet_comes_before_one_of_numbers(tmp_path: Path) -> None:
    create(tmp_path, " ".join(FILES))
    path = tmp_path / "list.parquet"
    save(path, {"image": FILES, "text": WORDS, "label": [0, 1, 2, 0, 1, 2, 0, 1]})
    assert list(listed(tmp_path).labels.values()) == WORDS
    save(path, {"image": FILES, "text": WORDS, "label": [1000 * n for n in range(8)]})
    assert list(listed(tmp_path).labels.values()) == WORDS
    features = {"label": {"_type": "ClassLabel", "names": ["easy", "hard"]}}
    save(path, {"image": FILES, "text": WORDS, "label": [0, 1] * 4}, features)
    assert list(listed(tmp_path).labels.values()) == WORDS


def test_images_inside_make_any_other_column_the_labels(tmp_path: Path, images: Path) -> None:
    """Also where the columns about them have the same name."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    values = [{"bytes": (images / name).read_bytes(), "path": name} for name in LABELS]
    columns = [values, list(LABELS.values()), *[["x"] * len(LABELS)] * 2]
    arrays = [pyarrow.array(column) for column in columns]
    made = pyarrow.Table.from_arrays(arrays, names=["image", "label", "meta", "meta"])
    parquet.write_table(made, folder / "0000.parquet")
    assert list(load(folder).labels) == EXPECTED
    made = pyarrow.table({"image": values, "plate": list(LABELS.values())})
    parquet.write_table(made, folder / "0000.parquet")
    assert list(load(folder).labels) == EXPECTED
