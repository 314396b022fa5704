"""Imports the Keras model of tests/helpers/keras_reference.py as a run."""

from pathlib import Path
from typing import Any

from crnn_jax.interop import keras
from experiments import base

SYMBOLS = "2345678bcdefgmnpwxy"


def import_run(file: Path, workdir: Path, alphabet: str, blank: str = "last", **data: Any) -> Any:
    values = base.get_config().to_dict()
    values["data"].update(data)
    return keras.import_run(file, workdir, values, alphabet, blank)
