"""Fixtures of tests that start from the run `trained`."""

from pathlib import Path
from typing import Any

import pytest

import crnn_jax
from crnn_jax.inference.recognizer import Recognizer
from tests.helpers.fixtures import MakeConfig


@pytest.fixture
def like_trained(tiny_config: MakeConfig) -> Any:
    """`tiny_config` with the sizes of the run `trained`."""

    def make(**changes: Any) -> Any:
        return tiny_config({"model.lstm_units": (16, 8)}, **changes)

    return make


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)
