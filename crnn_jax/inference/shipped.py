"""Readers that come with the package: weights in 16 bits, each in a folder of `readers/`.

model.safetensors   parameters f16 by name (Conv1/kernel)
reader.json         the rest of the reader, and the digest of the weights
README.md           the model card
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax import schema
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn
from crnn_jax.runs import config_migrations
from crnn_jax.runtime import files

FOLDER = Path(__file__).parents[1] / "readers"
WEIGHTS, DESCRIPTION = "model.safetensors", "reader.json"


class Shipped(NamedTuple):
    """A reader as it is stored."""

    config: Config
    charset: Charset
    normalization: Normalization
    params: Any  # f32
    fingerprint: str  # fingerprint of the training data
    temperature: float
    width_by_image: bool  # the input of each image has the width that fits its text
    typical: Typical | None  # energies of its validation part


class _Stored(TypedDict):
    alphabet: str
    mean: list[float]
    deviation: list[float]
    each_picture: bool
    fingerprint: str
    temperature: float
    width_by_image: bool
    typicality: NotRequired[schema.MeanAndStd | None]
    weights_sha256: str
    config: dict[str, Any]


def names() -> list[str]:
    """Returns the names that `load` accepts in place of a run directory."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{DESCRIPTION}"))


def is_name(run: str | os.PathLike[str]) -> bool:
    """Whether `run` is the name of a shipped reader. A run or an export of that name wins."""
    if not isinstance(run, str) or run not in names():
        return False
    return not any(
        os.path.lexists(os.path.join(run, file)) for file in ("config.json", DESCRIPTION)
    )


def read(name: str) -> Shipped:
    """Reads a shipped reader.

    Raises:
      RunError: its files are missing or differ from those that were shipped.
    """
    from safetensors import numpy as safetensors

    folder = FOLDER / name
    try:
        stored = schema.check(
            schema.document(files.read(folder / DESCRIPTION, schema.MAX_DOCUMENT)), _Stored
        )
        content = files.read(folder / WEIGHTS)
        if hashlib.sha256(content).hexdigest() != stored["weights_sha256"]:
            raise schema.InvalidError(f"the digest of {WEIGHTS} does not match {DESCRIPTION}")
        arrays = safetensors.load(content)
        config = config_lib.from_dict(config_migrations.up_to_date(stored["config"]))
    except (OSError, ValueError, schema.InvalidError) as error:
        raise RunError(
            f"the reader {name} of this installation cannot be used: {error}; install the package "
            "again"
        ) from error
    params = crnn.of_names({key: np.asarray(a, np.float32) for key, a in arrays.items()})
    return Shipped(
        config,
        Charset(stored["alphabet"], config.data.direction, config.data.marks),
        Normalization.from_record(stored),
        params,
        stored["fingerprint"],
        stored["temperature"],
        stored["width_by_image"],
        Typical(*found) if (found := stored.get("typicality")) else None,
    )
