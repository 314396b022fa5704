"""Columns of tables, as pandas and others have them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.inference import inputs


class Column:
    """A column of a table, which is no list: it has an index, and converts to objects."""

    def __init__(self, values: list[Any]):
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        result = np.empty(len(self.values), object)
        result[:] = self.values
        return result

    def __getitem__(self, label: str) -> Any:
        raise KeyError(label)


def test_a_column_of_a_table(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 64, 3), np.uint8)
    image, file, path = Image.fromarray(rgb), io.BytesIO(), tmp_path / "x.png"
    image.save(file, "PNG")
    path.write_bytes(file.getvalue())
    column = Column([os.fspath(path), file.getvalue(), image, rgb])
    for item in inputs.each(column):
        np.testing.assert_array_equal(np.asarray(inputs.to_image(item).convert("RGB")), rgb)
