"""Why a reading is what it is: where each character stands, and how sure it is."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from crnn_jax import alignment
from crnn_jax import model as model_lib
from crnn_jax.charset import PAD, Charset


class Character(NamedTuple):
    """A character of a reading. Places are shares of the picture's width."""

    symbol: str
    probability: float  # that it is this symbol, the others given
    left: float  # of the steps that the best alignment gives to it
    right: float


class Explanation(NamedTuple):
    text: str
    confidence: float
    characters: list[Character]


@functools.partial(jax.jit, static_argnames="model")
def explain(
    params: Any, images: jax.Array, ids: jax.Array, temperature: float, *, model: model_lib.CRNN
) -> tuple[jax.Array, jax.Array]:
    """Readings `ids` [B, L] of pictures u8 [B, W, H, C].

    Returns:
      Of each step the position of its character, PAD at a blank, i32 [B, T]; and of each
      character its probability, f32 [B, L], 0 at padding.
    """
    logits = model_lib.apply(model, params, images)
    posteriors = alignment.character_posteriors(logits / temperature, ids)  # [B, L, K - 1]
    chosen = jax.nn.one_hot(ids, posteriors.shape[-1], dtype=posteriors.dtype)
    return alignment.align(logits, ids), (posteriors * chosen).sum(-1)


def to_characters(
    charset: Charset, ids: np.ndarray, positions: np.ndarray, probabilities: np.ndarray
) -> list[Character]:
    """Host arrays of one reading, [L], [T] and [L], to its characters."""
    steps = len(positions)
    characters = []
    for n, k in enumerate(ids[ids != PAD].tolist()):
        (own,) = np.nonzero(positions == n)
        left, right = own[0] / steps, (own[-1] + 1) / steps
        characters.append(Character(charset.decode([k]), float(probabilities[n]), left, right))
    return characters
