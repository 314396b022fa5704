"""The shapes of images, and the note on characters that are below each other."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import aspects, folder, splits
from tests.helpers.fixtures import CONFIG


@pytest.mark.parametrize(
    ("size", "text", "said"),
    [
        ((36, 160), "abcd", "width / height is 0.23)"),  # 36 / 160 is 0.225
        ((36, 160), "a", ""),  # one character can be narrow
        ((160, 36), "abcd", ""),
        ((40, 50), "ab", ""),  # two characters side by side, with margins
    ],
)
def test_characters_below_each_other_are_reported(
    tmp_path: Path, size: tuple[int, int], text: str, said: str
) -> None:
    for k in range(3):
        Image.new("L", size, 200).save(tmp_path / f"{text}_{k}.png")
    Image.new("L", (100, 100), 200).save(tmp_path / "zz.png")
    config = dataclasses.replace(CONFIG, dir=os.fspath(tmp_path))
    data = folder.load(config, None, 16)
    split = splits.Split(np.arange(4, dtype=np.int32), np.empty(0, np.int32))
    found = aspects.notes(data, split, config)
    assert len(found) == bool(said)
    assert all(said in note and "rotate the images" in note for note in found)
    on_disk = dataclasses.replace(data, images=data.images[:2])
    assert aspects.notes(on_disk, split, config) == []
