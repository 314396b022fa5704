"""The commands about images: what their options change in what is written."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from crnn_jax.data.synthetic import glyphs
from crnn_jax.data.synthetic.wide import face_atlas, face_choice
from tests.helpers import looks
from tests.helpers.command_line import call
from tests.helpers.images import draw, encoded


class InThisProcess:
    """Replaces a pool of processes."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def map(
        self, call: Callable[[str], Any], items: Iterable[str], chunksize: int
    ) -> Iterator[Any]:
        return map(call, items)


def labels(file: Path) -> list[str]:
    with file.open(newline="") as table:
        return [row["label"] for row in csv.DictReader(table)]


def test_a_file_of_a_pack_is_closed_at_the_size_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # Two images have one byte less than 1 MiB, so a third one follows; later two have exactly that.
    half = 2**19
    for label, size in zip("abcdef", (half, half - 1, half, half, half, half), strict=True):
        image = encoded(draw(label))
        (source / f"{label}.png").write_bytes(image + bytes(size - len(image)))
    status, _, _ = call(capsys, "pack", source, tmp_path / "pack", "--shard-mib", 1)
    assert status == 0
    manifest = json.loads((tmp_path / "pack" / "pack.json").read_text())
    assert [shard["records"] for shard in manifest["shards"]] == [3, 2, 1]
    assert call(capsys, "pack", source, tmp_path / "large", "--shard-mib", 2)[0] == 0
    manifest = json.loads((tmp_path / "large" / "pack.json").read_text())
    assert [shard["records"] for shard in manifest["shards"]] == [5, 1]


def test_a_pack_has_the_labels_that_the_pattern_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, label in enumerate(("ab7", "bc", "7a7")):
        draw(label).save(source / f"scan {number} of {label}.png")
    command = ["pack", source, tmp_path / "pack", "--label-pattern", r"scan \d of (.+)"]
    assert call(capsys, *command)[0] == 0
    assert labels(tmp_path / "pack" / "index.csv") == ["ab7", "bc", "7a7"]


def test_the_seed_decides_the_generated_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = looks.save(tmp_path)
    found = []
    for number, flags in enumerate(([], ["--seed", 0], ["--seed", 1], ["--seed", 1])):
        folder = tmp_path / str(number)
        assert call(capsys, "generate", style, 20, folder, *flags)[0] == 0
        found.append(labels(folder / "labels.csv"))
        assert len(found[-1]) == 20
    assert found[0] == found[1] != found[2] == found[3]


def test_faces_are_chosen_from_all_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_choice, "ProcessPoolExecutor", InThisProcess)
    for folder, name in (("a", "DejaVuSans-Bold"), ("b", "DejaVuSerif-Bold")):
        (tmp_path / folder / "sub").mkdir(parents=True)
        shutil.copy(glyphs.path_of(name), tmp_path / folder / "sub")
    (tmp_path / "b" / "notes.txt").write_text("no font")
    file = tmp_path / "faces.npz"
    status, out, err = call(capsys, "faces", tmp_path / "a", tmp_path / "b", file)
    assert (status, err) == (0, "")
    atlas = face_atlas.load(file)
    names = sorted(" ".join(name.split()[:-1]) for name in atlas.names.tolist())
    assert names == ["DejaVu Sans Bold", "DejaVu Serif Bold"]
    assert out == f"wrote {file}: 2 faces, digest {atlas.digest()}\n"
    (tmp_path / "empty").mkdir()
    for folder, said in (
        ("empty", "none of the 0 fonts is a reference face"), ("missing", "missing is not a folder")
    ):  # fmt: skip
        status, _, err = call(capsys, "faces", tmp_path / folder, tmp_path / "none.npz")
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
    assert not (tmp_path / "none.npz").exists()
