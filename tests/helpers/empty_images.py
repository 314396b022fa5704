"""Folders of empty images, for tests that list labels without reading the images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.data import listing
from crnn_jax.data.label_rows import Listing
from tests.helpers.fixtures import CONFIG


def create(folder: Path, images: str, texts: Mapping[str, str] = {}) -> None:
    """Creates empty images, whose names are separated by spaces, and other files."""
    for name, text in {**dict.fromkeys(images.split(), ""), **texts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def listed(folder: Path, **changes: Any) -> Listing:
    return listing.checked(dataclasses.replace(CONFIG, dir=os.fspath(folder), **changes))
