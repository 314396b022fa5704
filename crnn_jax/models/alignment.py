"""Forward-backward alignment: the position and the probability of each character.

A path of classes, one for each of T steps, spells a text when runs are merged and blanks dropped
(Graves et al. 2006, section 3). For a text of L characters it goes through 2 L + 1 states from
left to right: state 2 n is the blank after n characters, state 2 n + 1 is character n. A character
may take several steps, and the blank between two different characters may be skipped. Sums over
paths (plus = logaddexp) give probabilities, maxima (plus = maximum) the best path. All values are
log-probabilities; -inf means impossible. The functions for one example are batched by vmap.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from crnn_jax.charset import PAD

Plus = Callable[[Array, Array], Array]


def align(logits: Float[Array, "B T K"], labels: Int[Array, "B L"]) -> Int[Array, "B T"]:
    """Returns the best path of each label.

    Entry t is the position in the label of the character that step t belongs to, or PAD at a
    blank. A label that does not fit in T steps gets PAD at every step.
    """
    return jax.vmap(_align)(jax.nn.log_softmax(logits), labels)


def occupancy(logits: Float[Array, "B T K"], labels: Int[Array, "B L"]) -> Float[Array, "B T L"]:
    """Returns the probability that step t belongs to character n, given the text.

    This is the soft counterpart of `align` (Graves et al. 2006, equation 14). Columns of padding
    are 0; the rest of each step's probability belongs to the blank.
    """
    return jax.vmap(_occupancy)(jax.nn.log_softmax(logits), labels)


def character_posteriors(
    logits: Float[Array, "B T K"], labels: Int[Array, "B L"]
) -> Float[Array, "B L K-1"]:
    """Returns the probability of each symbol at each position, given the other characters.

    Entry (n, k) is P(text with k at n), normalized over k. P sums over all alignments of that
    text. Each row sums to 1 over k; rows of padding are 0.
    """
    return jax.vmap(_posteriors)(jax.nn.log_softmax(logits), labels)


# ------------------------------------------------------------------ one example


def forward(
    log_p: Float[Array, "T K"], label: Int[Array, " L"], plus: Plus = jnp.logaddexp
) -> Float[Array, "T+1 2*L+1"]:
    """Sums (or maximizes) over the paths up to and including each step.

    Entry (t, s) covers all paths of t steps that end in state s. Before the first step every path
    is in state 0, a blank that takes no time.
    """
    emitted = log_p[:, _classes(label, log_p.shape[1])]  # [T, S]
    can_skip = _can_skip(label)
    start = jnp.where(jnp.arange(len(can_skip)) == 0, 0.0, -jnp.inf)

    def step(alpha: Array, emit: Array) -> tuple[Array, Array]:
        skipped = jnp.where(can_skip, _shift(alpha, 2), -jnp.inf)
        alpha = emit + plus(plus(alpha, _shift(alpha, 1)), skipped)
        return alpha, alpha

    return jnp.concatenate([start[None], jax.lax.scan(step, start, emitted)[1]])


def backward(
    log_p: Float[Array, "T K"], label: Int[Array, " L"], plus: Plus = jnp.logaddexp
) -> Float[Array, "T+1 2*L+1"]:
    """Sums (or maximizes) over the paths after each step.

    Entry (t, s) covers all ways to spend steps t, ..., T - 1 that start from state s at step t - 1
    and end with the whole text.
    """
    emitted = log_p[:, _classes(label, log_p.shape[1])]  # [T, S]
    can_skip = _can_skip(label)
    states, last = jnp.arange(len(can_skip)), 2 * jnp.sum(label != PAD)
    end = jnp.where((states == last) | (states == last - 1), 0.0, -jnp.inf)

    def step(beta: Array, emit: Array) -> tuple[Array, Array]:
        arrive = emit + beta
        skipped = _shift(jnp.where(can_skip, arrive, -jnp.inf), -2)
        beta = plus(plus(arrive, _shift(arrive, -1)), skipped)
        return beta, beta

    return jnp.concatenate([jax.lax.scan(step, end, emitted, reverse=True)[1], end[None]])


def _align(log_p: Array, label: Array) -> Array:
    beta = backward(log_p, label, jnp.maximum)  # [T + 1, S]
    classes, can_skip = _classes(label, log_p.shape[1]), _can_skip(label)

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        emit, after = at  # [K], [S]
        nexts = jnp.minimum(state + jnp.arange(3, dtype=jnp.int32), len(classes) - 1)
        allowed = (state + jnp.arange(3) < len(classes)).at[2].min(can_skip[nexts[2]])
        values = jnp.where(allowed, emit[classes[nexts]] + after[nexts], -jnp.inf)
        state = nexts[jnp.argmax(values)]
        return state, state

    states = jax.lax.scan(step, jnp.int32(0), (log_p, beta[1:]))[1]  # [T]
    return jnp.where(states % 2 == 1, states // 2, PAD)  # a label that does not fit stays at 0


def _occupancy(log_p: Array, label: Array) -> Array:
    together = forward(log_p, label) + backward(log_p, label)  # [T + 1, S]
    total = jnp.maximum(jax.nn.logsumexp(together[1:], axis=1, keepdims=True), -1e30)
    return jnp.exp(together[1:, 1::2] - total)


def _posteriors(log_p: Array, label: Array) -> Array:
    """Sums over the steps inside each position for all symbols at once, with `label` around it."""
    symbols = log_p.shape[1] - 1
    alpha, beta = forward(log_p, label), backward(log_p, label)  # [T + 1, S]
    before, after = _shift(label, 1, PAD), _shift(label, -1, PAD)  # [L], the neighbors
    differs = [~jax.nn.one_hot(n, symbols, dtype=bool) for n in (before, after)]  # [L, K - 1]
    # Into character n: from the blank before it, or from another character before it.
    blank_in, symbol_in = alpha[:-1, 0:-1:2], _shift(alpha[:-1, 1::2], 1, axis=1)  # [T, L]
    enter = jnp.logaddexp(
        blank_in[..., None], jnp.where(differs[0], symbol_in[..., None], -jnp.inf)
    )  # [T, L, K - 1]
    # Out of character n: the rest of the path, first a blank or another character.
    blank_out = log_p[:, -1:] + beta[1:, 2::2]  # [T, L]
    next_symbol = log_p[:, jnp.maximum(label, 0)] + beta[1:, 1::2]  # [T, L]
    symbol_out = _shift(next_symbol, -1, axis=1)
    leave = jnp.logaddexp(
        blank_out[..., None], jnp.where(differs[1], symbol_out[..., None], -jnp.inf)
    )  # [T, L, K - 1]
    is_last = jnp.arange(len(label)) == jnp.sum(label != PAD) - 1
    end = jnp.where(is_last, 0.0, -jnp.inf)[:, None]  # [L, 1]

    def step(carry: tuple[Array, Array], at: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        inside, total = carry  # [L, K - 1]: paths that end in the symbol; that have left it
        emit, into, out = at
        total = jnp.logaddexp(total, inside + out)
        inside = emit[None, :-1] + jnp.logaddexp(inside, into)
        return (inside, total), None

    nothing = jnp.full((len(label), symbols), -jnp.inf)
    (inside, total), _ = jax.lax.scan(step, (nothing, nothing), (log_p, enter, leave))
    total = jnp.logaddexp(total, inside + end)
    posterior = jax.nn.softmax(total, axis=1)
    return jnp.where((label != PAD)[:, None] & jnp.isfinite(beta[0, 0]), posterior, 0)


def _classes(label: Array, num_classes: int) -> Array:
    """Returns the class of each state, [L] to [2 L + 1]. No path ends in a state of padding."""
    blanks = jnp.full(2 * len(label) + 1, num_classes - 1)
    return blanks.at[1::2].set(jnp.where(label == PAD, num_classes - 1, label))


def _can_skip(label: Array) -> Array:
    """Whether a state may be entered from two states before: [L] to bool [2 L + 1]."""
    differs = label[1:] != label[:-1]
    return jnp.zeros(2 * len(label) + 1, bool).at[3::2].set(differs)


def _shift(x: Array, by: int, fill: float = -jnp.inf, axis: int = 0) -> Array:
    """Shifts x right by `by` along an axis (left if negative); gaps get `fill`."""
    size = x.shape[axis]
    pad = [(0, 0)] * x.ndim
    pad[axis] = (max(by, 0), max(-by, 0))
    moved = jnp.pad(x, pad, constant_values=fill)
    return jax.lax.slice_in_dim(moved, max(-by, 0), max(-by, 0) + size, axis=axis)
