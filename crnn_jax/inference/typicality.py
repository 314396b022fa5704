"""Measures from the logits how similar an image is to those that the reader was trained on.

The energy of a step is the logsumexp of its logits. Where the model reads a symbol, it is high on
images of the training scheme and lower on others, even if the softmax is confident (Liu et al.,
Energy-based Out-of-distribution Detection, 2020). Its mean over these steps is compared with that
of the validation part. The score adds almost no cost and needs two stored numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

LIMIT = -3.0  # standard deviations; a lower typicality counts as another kind of image
LOWEST = -99.0  # typicality of an image without text, and the lower bound
_LEAST = 8  # validation images that the deviation is estimated from


class Typical(NamedTuple):
    """The distribution of the energy over the validation part of a run."""

    mean: float
    std: float

    @classmethod
    def fit(cls, energies: np.ndarray) -> Typical | None:
        """Fits energies [N]. Returns None if fewer than eight images have text."""
        found = np.asarray(energies, np.float64)
        found = found[np.isfinite(found)]
        if len(found) < _LEAST:
            return None
        # Never 0, even if all images are equal.
        return cls(
            float(found.mean()), float(max(found.std(ddof=1), 1e-3 * abs(found.mean()), 1e-6))
        )

    def of(self, energy: float) -> float:
        """Returns the typicality: standard deviations above the mean of the validation part."""
        value = (energy - self.mean) / self.std
        return LOWEST if math.isnan(value) else min(max(value, LOWEST), -LOWEST)


def energy(logits: Float[Array, "B T K"]) -> Float[Array, " B"]:
    """Returns the mean energy of the steps that read a symbol; -inf if there is none."""
    is_symbol = jnp.argmax(logits, axis=-1) != logits.shape[-1] - 1  # [B, T]
    total = jnp.sum(jax.nn.logsumexp(logits, axis=-1), axis=1, where=is_symbol)
    count = jnp.sum(is_symbol, axis=1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), -jnp.inf)
