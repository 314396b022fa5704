"""Prefix beam search: the most probable texts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from crnn_jax.charset import PAD


class Beam(NamedTuple):
    """The prefixes of a search, in no particular order. A free entry has log-probability -inf."""

    ids: Int[Array, "W T"]  # padded with PAD
    lengths: Int[Array, " W"]
    blank: Float[Array, " W"]  # log-probability of the paths so far that end in a blank
    symbol: Float[Array, " W"]  # log-probability of those that end in the last symbol

    @property
    def score(self) -> Float[Array, " W"]:
        """The log-probability of each prefix."""
        return jnp.logaddexp(self.blank, self.symbol)


def beam_search(
    logits: Float[Array, "B T K"], width: int, n_best: int
) -> tuple[Int[Array, "B {n_best} T"], Float[Array, "B {n_best}"]]:
    """Prefix beam search: the most probable texts, summed over their alignments.

    Graves & Jaitly 2014, algorithm 1, without a language model. Probabilities are lower bounds,
    because the paths of a pruned prefix are lost. They are exact if no prefix is pruned.

    Args:
      logits: scores of the classes.
      width: prefixes kept at each step.
      n_best: texts returned, at most `width`.

    Returns:
      The ids, best first, padded with PAD, and the log-probabilities, which are -inf where fewer
      texts were found.

    Raises:
      ValueError: `n_best` is not from 1 to `width`.
    """
    if not 0 < n_best <= width:
        raise ValueError(f"n_best must be from 1 to the width, {width}, not {n_best}")
    log_p = jax.nn.log_softmax(logits)
    return jax.vmap(lambda one: _beam_search(one, width, n_best))(log_p)


def _beam_search(log_p: Array, width: int, n_best: int) -> tuple[Array, Array]:
    steps = len(log_p)
    nothing = jnp.full(width, -jnp.inf)
    start = Beam(
        ids=jnp.full((width, steps), PAD),
        lengths=jnp.zeros(width, jnp.int32),
        blank=nothing.at[0].set(0.0),
        symbol=nothing,
    )
    beam, _ = jax.lax.scan(lambda beam, emit: (_extend(beam, emit), None), start, log_p)
    scores, best = jax.lax.top_k(beam.score, n_best)
    return beam.ids[best], scores


def _extend(beam: Beam, emit: Array) -> Beam:
    """Returns the beam after one more step, emit [K]: prefixes stay, or grow by a symbol."""
    width, steps = beam.ids.shape
    symbols = len(emit) - 1
    rows, positions = jnp.arange(width), jnp.arange(steps)
    last = beam.ids[rows, jnp.maximum(beam.lengths - 1, 0)]  # PAD for the empty prefix
    is_last = jax.nn.one_hot(last, symbols, dtype=bool)  # [W, K - 1]
    # A symbol that repeats the last one makes the prefix grow only after a blank.
    grown = emit[None, :-1] + jnp.where(is_last, beam.blank[:, None], beam.score[:, None])

    # A prefix may grow into one that is in the beam already: their paths are added.
    is_shorter = beam.lengths[:, None] + 1 == beam.lengths[None, :]  # [W, W], parent and child
    beyond = positions[None, None, :] >= beam.lengths[:, None, None]  # after the parent
    is_prefix = jnp.all((beam.ids[:, None] == beam.ids[None]) | beyond, axis=-1)
    is_alive = jnp.isfinite(beam.score)
    is_parent = is_shorter & is_prefix & is_alive[:, None] & is_alive[None, :]
    into = jnp.where(is_parent, grown[:, jnp.maximum(last, 0)], -jnp.inf)  # [W, W]
    taken = jnp.any(is_parent[:, :, None] & is_last[None], axis=1)  # [W, K - 1]
    grown = jnp.where(taken, -jnp.inf, grown)

    repeated = jnp.where(last == PAD, -jnp.inf, beam.symbol + emit[jnp.maximum(last, 0)])
    blank = beam.score + emit[-1]
    symbol = jnp.logaddexp(repeated, jax.nn.logsumexp(into, axis=0))
    scores = jnp.concatenate([jnp.logaddexp(blank, symbol), grown.reshape(-1)])
    scores, chosen = jax.lax.top_k(scores, width)
    stays = chosen < width
    parent = jnp.where(stays, chosen, (chosen - width) // symbols)
    added = jnp.where(stays, PAD, (chosen - width) % symbols)
    lengths = beam.lengths[parent]
    is_end = (positions[None, :] == lengths[:, None]) & ~stays[:, None]
    return Beam(
        ids=jnp.where(is_end, added[:, None], beam.ids[parent]),
        lengths=lengths + ~stays,
        blank=jnp.where(stays, blank[parent], -jnp.inf),
        symbol=jnp.where(stays, symbol[parent], scores),
    )
