"""The best path of a known form, by dynamic programming."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from crnn_jax.charset import PAD


def best_path(
    logits: Float[Array, "B T K"],
    shortest: int,
    longest: int,
    allowed: Bool[Array, "positions symbols"] | None = None,
) -> tuple[Int[Array, "B {longest}"], Float[Array, " B"]]:
    """Finds the most probable path whose text has a known form, by exact dynamic programming.

    If the greedy text has that form, the result is the greedy text, unless there are ties.

    Args:
      logits: scores of the classes.
      shortest, longest: the least and the greatest length of the text, in characters.
      allowed: which symbols may stand at each position; None is all.

    Returns:
      The ids, padded with PAD, and the log-probability of the path. If no path has the form, for
      example if the text is longer than T, all ids are PAD and the log-probability is -inf.

    Raises:
      ValueError: the lengths are not 0 <= shortest <= longest, longest is 0, or `allowed` has
        another shape than [longest, K - 1].
    """
    if not 0 <= shortest <= longest or not longest:
        raise ValueError(f"lengths must be 0 <= shortest <= longest, not {shortest}, {longest}")
    symbols = logits.shape[-1] - 1
    if allowed is None:
        allowed = jnp.ones((longest, symbols), bool)
    if allowed.shape != (longest, symbols):
        raise ValueError(f"allowed must be [{longest}, {symbols}], not {list(allowed.shape)}")
    log_p = jax.nn.log_softmax(logits)
    return jax.vmap(lambda one: _best_path(one, shortest, allowed))(log_p)


def _best_path(log_p: Array, shortest: int, allowed: Array) -> tuple[Array, Array]:
    """In state (n, k), n characters have begun and the class of the last step is k."""
    classes = log_p.shape[1]
    longest, blank = len(allowed), classes - 1
    forbidden = jnp.where(allowed, 0.0, -jnp.inf)  # [longest, K - 1]
    counts = jnp.arange(longest + 1)
    end = jnp.where((counts >= shortest)[:, None], 0.0, jnp.full((longest + 1, classes), -jnp.inf))

    def choices(emit: Array, after: Array) -> tuple[Array, Array, Array]:
        """Scores [n, k] of going on with the same class, with a blank, or with character n."""
        same = emit[None] + after
        to_blank = jnp.broadcast_to(same[:, blank:], same.shape)
        begin = same[1:, :-1] + forbidden  # [longest, K - 1]
        return same, to_blank, jnp.pad(begin, ((0, 1), (0, 0)), constant_values=-jnp.inf)

    def step(after: Array, emit: Array) -> tuple[Array, Array]:
        same, to_blank, begin = choices(emit, after)
        # The best new character that differs from each class: the best or the second best.
        top, who = jax.lax.top_k(begin, min(2, classes - 1))
        other = jnp.where(
            jnp.arange(classes)[None] == who[:, :1],
            top[:, 1:2] if classes > 2 else -jnp.inf,
            top[:, :1],
        )
        before = jnp.maximum(jnp.maximum(same, to_blank), other)
        return before, before

    values = jax.lax.scan(step, end, log_p, reverse=True)[1]  # [T, longest + 1, K]
    afters = jnp.concatenate([values[1:], end[None]])

    def follow(
        state: tuple[Array, Array], at: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        n, k = state
        same, to_blank, begin = choices(*at)
        options = jnp.concatenate(
            [
                jnp.stack([same[n, k], to_blank[n, k]]),
                jnp.where(jnp.arange(classes - 1) == k, -jnp.inf, begin[n]),
            ]
        )
        best = jnp.argmax(options).astype(jnp.int32)  # also with 64 bits
        begins = best >= 2
        k = jnp.where(begins, best - 2, jnp.where(best == 1, blank, k))
        return (n + begins.astype(jnp.int32), k), jnp.where(begins, k, PAD)

    begun = jax.lax.scan(follow, (jnp.int32(0), jnp.int32(blank)), (log_p, afters))[1]  # [T]
    score = values[0, 0, blank]
    # Each character that begins moves to its rank, as in the greedy decoder.
    is_character = (begun != PAD) & jnp.isfinite(score)
    target = jnp.where(is_character, jnp.cumsum(is_character) - 1, longest)
    ids = jnp.full(longest + 1, PAD, jnp.int32).at[target].set(begun.astype(jnp.int32))
    return ids[:longest], score
