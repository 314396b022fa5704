"""A run with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

import crnn_jax
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import imported_run
from crnn_jax.models import crnn


def write(
    workdir: Path,
    config: Config,
    standard: Any,
    alphabet: str = "abc7",
    noise: float = 0.3,
    seed: int = 0,
    other_cases: str = "",
) -> Recognizer:
    """Writes a run with random weights. Returns its reader.

    They are drawn by numpy, because jax would compile the initial values of each shape.

    Args:
      noise: the standard deviation of biases, and of what is added to weights of variance
        1 / fan-in.
    """
    charset = Charset(alphabet, marks=config.data.marks, other_cases=other_cases)
    model = crnn.build(config.model, charset, *standard)
    shapes = jax.eval_shape(lambda: crnn.init(model, jax.random.key(0), config.data))
    rng = np.random.default_rng(seed)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        std = (leaf.size // leaf.shape[-1]) ** -0.5 if leaf.ndim > 1 else 0.0
        values = np.hypot(noise, std) * rng.normal(size=leaf.shape)
        return values.astype(np.float32)

    params = jax.tree.map(drawn, shapes)
    imported_run.write(workdir, config, charset, standard, params, "", "a test")
    return crnn_jax.load(workdir)
