import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.charset import Charset
from crnn_jax.data import folder as dataset
from crnn_jax.data import listing
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw


def _load(folder: Path, charset: Any = None, num_steps: int = 16, **changes: Any) -> Any:
    config = dataclasses.replace(CONFIG, dir=str(folder), **changes)
    return dataset.load(config, charset, num_steps)


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("226md.png", "226md"),
        ("226md_2.png", "226md"),
        ("226md_2_b.jpeg", "226md"),
        ("a.b.png", "a.b"),
        ("e\u0301.png", "\u00e9"),  # decomposed, as some file systems store names
    ],
)
def test_label_of_a_file_name(file: str, text: str) -> None:
    assert listing.label_of(file) == text


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.png", "a_2.png", "a.jpg"):
        draw("a").save(tmp_path / name)
    (tmp_path / ".hidden").write_text("not an image, and not asked for")
    data = _load(tmp_path)
    assert data.files == ("a.jpg", "a_2.png", "b.png")
    assert data.texts == ("a", "a", "b")
    assert data.images.shape == (3, 64, 16, 1)
    assert data.images.dtype == np.uint8
    assert data.name == tmp_path.name


def test_a_labels_file_names_the_files_and_their_texts(tmp_path: Path) -> None:
    draw("x").save(tmp_path / "1.png")
    draw("y").save(tmp_path / "2.png")
    draw("z").save(tmp_path / "not listed.png")
    (tmp_path / "labels.csv").write_text('file,label\n2.png,"y,_"\n1.png,x\n')
    data = _load(tmp_path)
    assert dict(zip(data.files, data.texts, strict=True)) == {"1.png": "x", "2.png": "y,_"}


def test_fingerprint_changes_with_names_labels_and_pixels_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    def fingerprint(images: Any, labels: Any = None, **changes: Any) -> Any:
        folder = tmp_path / "set"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, image in images.items():
            image.save(folder / name)
        if labels:
            (folder / "labels.csv").write_text("file,label\n" + labels)
        return _load(folder, **changes).fingerprint

    a, b = draw("a"), draw("b")
    first = fingerprint({"a.png": a, "b.png": b})
    assert fingerprint({"b.png": b, "a.png": a}) == first
    assert fingerprint({"a.png": a, "b.png": b}, width=32) == first
    assert fingerprint({"a.png": a, "b.png": b}, labels="a.png,a\nb.png,b\n") == first
    others = [
        fingerprint({"a.png": a, "c.png": b}),
        fingerprint({"a.png": b, "b.png": a}),
        fingerprint({"a.png": a, "b.png": b}, labels="a.png,a\nb.png,c\n"),
        fingerprint({"a.png": a}),
    ]
    assert len({first, *others}) == 5


def test_fingerprint_sees_a_palette_and_the_orientation(tmp_path: Path) -> None:
    """The same stored bytes that decode to different images."""
    fingerprints = set()
    indices = np.random.default_rng(0).integers(0, 2, (16, 64), np.uint8)
    for palette in ([0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]):
        image = Image.fromarray(indices, "L").convert("P")
        image.putpalette(palette)
        image.putdata(indices.ravel())
        image.save(tmp_path / "a.png")
        fingerprints.add(_load(tmp_path).fingerprint)
    (tmp_path / "a.png").unlink()
    for orientation in (1, 3):
        exif = Image.Exif()
        exif[0x0112] = orientation
        draw("a").save(tmp_path / "a.jpg", exif=exif)
        fingerprints.add(_load(tmp_path).fingerprint)
    assert len(fingerprints) == 4


# ------------------------------------------------------------------------- bad input


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    draw("good").save(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 200), np.uint8)).save(
        whole, "PNG"
    )
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:2000])
    draw("x").save(tmp_path / "_2.png")  # no label before the underscore
    draw("x").save(tmp_path / "gooz.png")
    draw("x").save(tmp_path / "oooo.png")  # 4 symbols and 3 blanks
    with pytest.raises(DataError) as error:
        _load(tmp_path, Charset("dgoemptyxcu"), num_steps=6)
    message = str(error.value)
    for part in (
        "6 files",
        "empty.png: empty file",
        "text.png: not an image",
        "cut.png: ",
        "_2.png: its label is empty",
        "gooz.png: its label 'gooz' has 'z'",
        "oooo.png: its label 'oooo' needs 7 time steps",
    ):
        assert part in message
    assert "good.png" not in message


def test_a_stranger_among_the_images_is_named(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        _load(tmp_path)
    for part in ("3 files", "notes.txt: not an image", "gone.png: there is no", "empty.png: empty"):
        assert part in str(error.value)


def test_an_image_with_damaged_exif_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    draw("a").save(buffer, "PNG", exif=b"Exif\0\0garbage")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):
        _load(tmp_path)


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "\udcff.png")  # the byte 0xff, as Python represents it
    with pytest.raises(DataError, match="not valid UTF-8"):
        _load(tmp_path)


def test_a_label_that_just_fits_is_taken(tmp_path: Path) -> None:
    draw("x").save(tmp_path / "oooo.png")
    assert len(_load(tmp_path, num_steps=7)) == 1


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_that_is_none(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    if kind == "empty":
        folder.mkdir()
    if kind == "file":
        folder.write_text("")
    advice = {"missing": "there is no folder", "empty": "no images", "file": "is a file"}[kind]
    with pytest.raises(DataError, match=advice):
        _load(folder)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("number,note\n1,b\n", "header file,label"),
        ("", "header file,label"),
        ("file,label\na.png,a\na.png,b\n", r"a\.png: listed twice"),
        ("file,label\nb.png,b\n", r"b\.png: there is no such file"),
        ("file,label\na.png,a,b\n", r"a\.png: more fields"),
        ("file,label\na.png, a\n", r"a\.png: its label ' a' begins or ends"),
        ('file,label\na.png,"a\nb.png,b"\n', r"a\.png: its label .* has line breaks"),
        ('file,label\na.png,"a\nb.png,b\n', "not a CSV file"),
        ("file,label\na.png\n", r"a\.png: its label is empty"),
    ],
)
def test_a_bad_labels_file(tmp_path: Path, labels: str, complaint: str) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(DataError, match=complaint):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        ("", "0012"),
        (r"\d+_(.+)", "caf\u00e91_2"),
        ("_([^_]+)_", "caf\u00e91"),
        ("(.)$", "2"),
    ],
)
def test_the_label_is_what_the_pattern_finds(tmp_path: Path, pattern: str, label: str) -> None:
    name = "0012_cafe\u03011_2.png"  # decomposed, as some file systems store it
    draw("a").save(tmp_path / name)
    assert _load(tmp_path, label_pattern=pattern).texts == (label,)
    assert listing.labels(tmp_path, pattern) == {name: label}


def test_a_name_without_a_label_is_reported(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "1_a.png")
    draw("a").save(tmp_path / "a.png")
    for call in (_load, lambda folder, label_pattern: listing.labels(folder, label_pattern)):
        with pytest.raises(
            DataError,
            match=r"1 file in .*\n  a\.png: data\.label_pattern finds no label in 'a' \(i",
        ):
            call(tmp_path, label_pattern=r"\d_(.+)")


# -------------------------------------------------------------------------- the real set


def test_the_real_set(real_set: Path) -> None:
    data = dataset.load(
        dataclasses.replace(CONFIG, dir=str(real_set), width=200, height=50), None, num_steps=50
    )
    assert data.images.shape == (936, 200, 50, 1)
    assert Charset.derive(data.texts).alphabet == "2345678bcdefgmnpwxy"
    with Image.open(real_set / data.files[7]) as image:  # 200x50 gray: nothing to convert
        np.testing.assert_array_equal(data.images[7, :, :, 0], np.asarray(image).T)
