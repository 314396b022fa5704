"""A folder of images for a labeling session."""

from pathlib import Path

import pytest

from tests.helpers.images import draw
from tests.helpers.labeled import COUNT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images 00.png to 23.png. `readings` reads them as a00 to a23, surer and surer."""
    for number in range(COUNT):
        draw(f"a{number:02}").save(tmp_path / f"{number:02}.png")
    return tmp_path
