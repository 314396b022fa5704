"""Which images of a folder are left out, and that every command names them."""

import dataclasses
import os
from pathlib import Path

import pytest

from crnn_jax.cli import listing as predicted
from crnn_jax.data import listing
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw

LEFT_OUT = ["b/captcha", "c.jpe", "d.apng", "e.avif", "f.jpg_large"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    for name in ["12.png", *LEFT_OUT]:
        draw("12").save(tmp_path / name, "PNG")
    return tmp_path


def test_predict_names_the_images_that_it_leaves_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes").write_text("no image")
    assert list(predicted.expand([os.fspath(folder)])) == [os.fspath(folder / "12.png")]
    shown = ", ".join(LEFT_OUT[:3])
    assert capsys.readouterr().err == (
        f"note: 5 images of {folder} left out, such as {shown}: an image whose name does not end "
        "in the extension of an image; rename it\n"
    )
    for name in LEFT_OUT:
        (folder / name).unlink()
    assert list(predicted.expand([os.fspath(folder)])) == [os.fspath(folder / "12.png")]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["12.png_original", "12.png~"])
def test_a_backup_is_named_as_one(folder: Path, name: str) -> None:
    """Renamed, it would be a second copy of the image. A text of such a name is no image."""
    draw("12").save(folder / name, "PNG")
    (folder / "12.png_label").write_text("12")
    found = listing.of(dataclasses.replace(CONFIG, dir=os.fspath(folder)))
    said = "its name suggests a copy of 12.png; rename it if it is a different image"
    assert found.complaints[name] == said
    assert found.complaints["12.png_label"] == "not an image"


def test_the_data_set_refuses_the_same_images(folder: Path) -> None:
    found = listing.of(dataclasses.replace(CONFIG, dir=os.fspath(folder)))
    assert sorted(found.complaints) == LEFT_OUT
    assert found.complaints["e.avif"] == (
        "an image of a format that is not supported; save it as PNG"
    )
