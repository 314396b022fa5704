"""Four labeled images, for tests of label files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from crnn_jax.data import folder as dataset
from crnn_jax.data.folder import Dataset
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw

LABELS = {"img_0.png": "862", "img_1.png": "0129", "img_2.png": "75", "img_3.png": "0330"}
EXPECTED = list(LABELS.values())


def save(folder: Path) -> Path:
    """Writes the images, without a label file. Returns the folder."""
    folder.mkdir(exist_ok=True)
    for name, label in LABELS.items():
        draw(label).save(folder / name)
    return folder


def load(folder: Path) -> Dataset:
    return dataset.load(dataclasses.replace(CONFIG, dir=os.fspath(folder)), None, 16)


def table(header: str, row: str, labels: Mapping[str, str] = LABELS) -> str:
    """Returns the text of a table with a row for each image."""
    lines = [row.format(file=file, label=label) for file, label in labels.items()]
    return "\n".join([header] * bool(header) + lines) + "\n"
