"""What the tests of Keras files share."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def stored(keras_files: Path) -> dict[str, np.ndarray]:
    with np.load(keras_files / "reference.npz") as file:
        return dict(file)
