"""Folders of images for tests of label files; see tests/helpers/labeled_images.py."""

from pathlib import Path

import pytest

from tests.helpers import labeled_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return labeled_images.save(tmp_path)


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """The same images in a folder `images`."""
    labeled_images.save(tmp_path / "images")
    return tmp_path
