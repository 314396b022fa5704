"""A text file for each image, beside it or in a folder of its own."""

import dataclasses
import os
from pathlib import Path

from crnn_jax.data import listing
from crnn_jax.data.label_rows import Listing
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw


def save(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text(f"{name.replace('/', '-').removesuffix('.txt')}\n")
        else:
            draw("1").save(path)


def listed(folder: Path) -> Listing:
    return listing.checked(dataclasses.replace(CONFIG, dir=os.fspath(folder)))


def test_parts_whose_images_have_the_same_names(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number in range(2):
            save(tmp_path, f"{part}/images/{number}.png", f"{part}/labels/{number}.txt")
    assert listed(tmp_path).labels == {
        "test/images/0.png": "test-labels-0",
        "test/images/1.png": "test-labels-1",
        "train/images/0.png": "train-labels-0",
        "train/images/1.png": "train-labels-1",
    }


def test_a_text_of_one_part_is_not_the_label_of_another(tmp_path: Path) -> None:
    save(tmp_path, "train/images/0.png", "train/labels/0.txt", "train/labels/1.txt")
    save(tmp_path, "test/images/1.png")
    found = listed(tmp_path)
    assert found.labels == {"train/images/0.png": "train-labels-0"}
    assert found.warnings == (
        "1 image without a label in a text file for each image: left out, such as "
        "test/images/1.png",
        "1 text file without an image: left out, such as train/labels/1.txt",
    )


def test_a_text_that_fits_two_images_equally_is_of_neither(tmp_path: Path) -> None:
    save(tmp_path, "a/0.png", "b/0.png", "b/1.png", "texts/0.txt", "texts/1.txt", "texts/2.txt")
    save(tmp_path, "c/2.png")
    assert listed(tmp_path).labels == {"b/1.png": "texts-1", "c/2.png": "texts-2"}


def test_texts_of_a_few_images_are_mentioned(tmp_path: Path) -> None:
    save(tmp_path, *(f"images/{number}.png" for number in range(5)), "texts/1.txt")
    found = listed(tmp_path)
    assert found.labels["images/1.png"] == "1"
    (warning,) = found.warnings
    assert warning.startswith("the text files of images, such as texts/1.txt, are not used")


def test_a_second_text_of_an_image_is_named_as_such(tmp_path: Path) -> None:
    save(tmp_path, "0.png", "1.png", "0.txt", "1.txt", "0.gt.txt", "2.txt")
    (tmp_path / "0.gt.txt").write_text("other\n")
    found = listed(tmp_path)
    assert found.labels == {"0.png": "other", "1.png": "1"}
    assert found.warnings == (
        "1 text file without an image: left out, such as 2.txt",
        "1 image with two text files: one is read, such as 0.gt.txt and not 0.txt",
    )
