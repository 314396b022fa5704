"""Schemes packed into one file, for a machine that does not have their folders."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import image_io, listing, splits
from crnn_jax.inference import held_out
from experiments import adapt


class Scheme(NamedTuple):
    """The rows of a scheme in the packed images."""

    name: str
    test: list[int]
    train: list[int]  # ordered; N labels are the first N


class Packed(NamedTuple):
    schemes: list[Scheme]
    texts: list[str]
    images: np.ndarray  # u8 [N, W, H, C]


def pack(target: Path, folders: list[Path], most: int) -> None:
    """Writes the files and labels; `most` is the number of training images per scheme."""
    config = config_lib.from_config_dict(adapt.get_config()).data
    schemes: dict[str, Any] = {}
    with zipfile.ZipFile(target, "w") as archive:
        for path in folders:
            labels = listing.labels(path)
            files, texts = list(labels), list(labels.values())
            section = dataclasses.replace(
                config,
                test_size=held_out.TEST_SIZE,
                val_fraction=0.05,
                train_size=0,
                min_val_size=0,
            )
            split = splits.split(texts, section)
            parts = {"test": split.test.tolist(), "train": split.train[:most].tolist()}
            schemes[path.name] = {
                part: [[files[i], texts[i]] for i in rows] for part, rows in parts.items()
            }
            for rows in parts.values():
                for i in rows:
                    archive.write(path / files[i], f"{path.name}/{files[i]}")
        archive.writestr("listing.json", json.dumps(schemes))


def unpack(sources: list[Path], config: config_lib.DataConfig) -> Packed:
    schemes: list[Scheme] = []
    texts: list[str] = []
    contents: list[bytes] = []
    for source in sources:
        with zipfile.ZipFile(source) as archive:
            for name, parts in json.loads(archive.read("listing.json")).items():
                rows = {}
                for part, items in parts.items():
                    rows[part] = list(range(len(texts), len(texts) + len(items)))
                    texts += [text for _, text in items]
                    contents += [archive.read(f"{name}/{file}") for file, _ in items]
                schemes.append(Scheme(name, rows["test"], rows["train"]))
    images = np.empty((len(texts), config.width, config.height, config.channels), np.uint8)

    def read(i: int) -> None:
        images[i] = image_io.to_array(image_io.open_image(contents[i]), config)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, range(len(texts))))
    return Packed(schemes, texts, images)
