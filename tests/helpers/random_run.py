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
    """Writes a run with the initial weights of a seed, plus noise. Returns its reader."""
    charset = Charset(alphabet, marks=config.data.marks, other_cases=other_cases)
    model = crnn.build(config.model, charset, *standard)
    params = crnn.init(model, jax.random.key(seed), config.data)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: np.float32(a + noise * rng.normal(size=a.shape)), params)
    imported_run.write(workdir, config, charset, standard, params, "", "a test")
    return crnn_jax.load(workdir)
