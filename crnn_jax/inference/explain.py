"""Explains readings: position and probability of each character, and alternative texts."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from crnn_jax.charset import PAD, Charset
from crnn_jax.inference import evaluate, typicality
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models import alignment, crnn
from crnn_jax.models.beam_search import beam_search
from crnn_jax.models.decoding import Decoder
from crnn_jax.runtime import xla_options

_BEAM, _ALTERNATIVES = 16, 5


class Character(NamedTuple):
    """A character of a reading. Positions are fractions of the image's width."""

    symbol: str
    probability: float  # probability of this symbol, given the others
    left: float  # left end of its time steps in the best alignment
    right: float


class Explanation(NamedTuple):
    """A reading with its characters and alternatives."""

    text: str
    confidence: float
    characters: list[Character]  # in the order of the image, from left to right
    # The most probable texts that a beam search finds, of the form that the decoder knows.
    alternatives: list[Reading]
    typicality: float | None = None  # as in a Reading
    answered: bool = True


@functools.partial(xla_options.jit_reading, static_argnames=("decoder",))
def explain(
    params: Any,
    images: UInt8[Array, "B W H C"],
    temperature: float | Float[Array, ""],
    *,
    model: crnn.Model,
    decoder: Decoder,
) -> tuple[
    Int[Array, "B L"],
    Float[Array, " B"],
    Float[Array, " B"],
    Int[Array, "B T"],
    Float[Array, "B L"],
    Int[Array, "B A T"],
    Float[Array, "B A"],
]:
    """Reads and explains images.

    Args:
      params: the parameters of `model`.
      images: pixels.
      temperature: divides the logits.
      model: the model.
      decoder: how texts are decoded.

    Returns:
      the ids and the log-probability of each reading and the energy, as from `evaluate.read`;
      for each time step the index of its character, or PAD at a blank;
      the probability of each character, 0 at padding;
      the A most probable texts, and their log-probabilities.
    """
    logits = crnn.apply(model, params, images)
    ids, log_probability = evaluate.decode(logits, temperature, decoder)
    posteriors = alignment.character_posteriors(
        decoder.merged(logits / temperature), ids
    )  # [B, L, K - 1]
    chosen = jax.nn.one_hot(ids, posteriors.shape[-1], dtype=posteriors.dtype)
    positions = alignment.align(decoder.merged(logits), ids)
    probabilities = (posteriors * chosen).sum(-1)
    # -inf, so that no alternative has a symbol that is read as another one.
    scaled = decoder.merged(logits / temperature, -jnp.inf)
    # The whole beam, because texts that do not have the known form are dropped later.
    best = beam_search(scaled, _BEAM, _BEAM if decoder.longest else _ALTERNATIVES)
    energy = typicality.energy(logits)
    return ids, log_probability, energy, positions, probabilities, *best


def to_explanation(
    charset: Charset,
    decoder: Decoder,
    reading: Reading,
    span: tuple[float, float],
    ids: Int[np.ndarray, " L"],
    positions: Int[np.ndarray, " T"],
    probabilities: Float[np.ndarray, " L"],
    best_ids: Int[np.ndarray, "A T"],
    best_scores: Float[np.ndarray, " A"],
) -> Explanation:
    """Converts host arrays of one reading to an Explanation.

    The time steps cover the `span` of the image's width, which is (0, 1) unless the image was
    cropped.
    """
    steps = len(positions)
    start, end = span
    characters = []
    for n, k in enumerate(ids[ids != PAD].tolist()):
        (own,) = np.nonzero(positions == n)
        left, right = (own[0] / steps, (own[-1] + 1) / steps) if len(own) else (0, 0)
        left, right = (start + share * (end - start) for share in (left, right))
        probability = float(np.clip(np.nan_to_num(probabilities[n]), 0, 1))
        characters.append(Character(charset.decode([k]), probability, float(left), float(right)))
    found = np.isfinite(best_scores)
    found &= [decoder.accepts(row[row != PAD].tolist()) for row in best_ids]
    alternatives = evaluate.to_readings(charset, best_ids[found], best_scores[found])
    if decoder.longest and reading.text not in (part.text for part in alternatives):
        alternatives.append(Reading(reading.text, reading.confidence))
    alternatives.sort(key=lambda part: -part.confidence)
    alternatives = alternatives[:_ALTERNATIVES]
    verdict = reading.typicality, reading.answered
    return Explanation(*reading, characters, alternatives, *verdict)
