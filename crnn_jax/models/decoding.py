"""Decoders beyond the greedy one: beam search, and the best path of a known form."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from crnn_jax.charset import PAD, Charset, parse_folding
from crnn_jax.errors import ConfigError, quote
from crnn_jax.models import ctc_loss

LOW = -1e9  # a logit that counts as probability 0 in float32


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Turns logits into texts: greedily, by beam search, or by the best path of a known form."""

    beam: int = 0  # prefixes that a beam search keeps; 0 for none
    shortest: int = 0  # least number of characters, if the form is known
    longest: int = 0  # greatest number of characters; 0: the form is not known
    allowed: tuple[tuple[bool, ...], ...] = ()  # [longest, K - 1], symbols that may stand there
    # [K - 1], for each symbol the one that it is read as; empty if each is read as itself
    representatives: tuple[int, ...] = ()

    def __call__(self, logits: Float[Array, "B T K"]) -> Int[Array, "B L"]:
        """Returns the ids of the texts, padded with PAD."""
        logits = self.merged(logits, -jnp.inf)
        if self.beam:
            return beam_search(logits, self.beam, 1)[0][:, 0]
        if self.longest:
            allowed = jnp.asarray(self.allowed) if self.allowed else None
            return best_path(logits, self.shortest, self.longest, allowed)[0]
        return ctc_loss.greedy_decode(logits)

    def merged(self, logits: Float[Array, "B T K"], low: float = LOW) -> Float[Array, "B T K"]:
        """Adds the probability of each symbol to that of its representative.

        Args:
          logits: scores of the classes.
          low: logit of the symbols that another one represents. The default is finite, because
            losses multiply log-probabilities by 0.

        Returns:
          Logits with the same normalizing constant.
        """
        if not self.representatives:
            return logits
        groups: dict[int, list[int]] = {}
        for symbol, representative in enumerate(self.representatives):
            groups.setdefault(representative, []).append(symbol)
        groups = {first: members for first, members in groups.items() if len(members) > 1}
        width = max(map(len, groups.values()))
        # [G, width]: the members, padded with the representative. Padding is not counted.
        members = np.array([m + [first] * (width - len(m)) for first, m in groups.items()])
        counted = np.array([[i < len(m) for i in range(width)] for m in groups.values()])
        parts = jnp.where(counted[None, None], logits[..., members], -jnp.inf)
        others = sorted(set(members.flat) - set(groups))
        sums = jax.nn.logsumexp(parts, axis=-1)  # [B, T, G]
        return logits.at[..., list(groups)].set(sums).at[..., others].set(low)


GREEDY = Decoder()


def decoder(
    charset: Charset,
    num_steps: int,
    beam: int = 0,
    length: int | tuple[int, int] | None = None,
    allowed: str | Sequence[str] | None = None,
    case: str = "keep",
    merge: str = "",
) -> Decoder:
    """Returns the decoder that a user asks for.

    Args:
      charset: of the reader.
      num_steps: T of the reader's logits.
      beam: width of a prefix beam search; 0 for none.
      length: the number of characters, or the least and the greatest number.
      allowed: the symbols that may stand at every position, or those of each position in turn. A
        symbol also allows all symbols that are read as the same one. Symbols that the reader
        lacks are left out, with a warning.
      case: 'lower' or 'upper' reads each letter in that case, if the alphabet has both of its
        cases; 'keep' leaves letters as they are.
      merge: groups of symbols, such as '0O,1Il'; a symbol is read as the first of its group that
        the alphabet has; see `charset.parse_folding`.

    Raises:
      ConfigError: an option is invalid, or two cannot be combined; the message says which.
    """
    if beam < 0:
        raise ConfigError(f"`beam` must be 0 (off) or a width of at least 1, not {beam}")
    fold = parse_folding(case, merge).representatives(charset.alphabet)
    representatives = fold if fold != tuple(range(len(fold))) else ()
    if length is None and allowed is None:
        return Decoder(beam=beam, representatives=representatives)
    if beam:
        raise ConfigError("`beam` cannot be combined with `length` or `allowed`")
    if length is None:
        length = (0, num_steps) if isinstance(allowed, str) else len(allowed or ())
    shortest, longest = (length, length) if isinstance(length, int) else length
    if not 0 <= shortest <= longest <= num_steps or not longest:
        raise ConfigError(
            f"`length` must be from 1 to {num_steps}, the number of time steps, not {shortest} to "
            f"{longest}"
        )
    if allowed is None:
        return Decoder(shortest=shortest, longest=longest, representatives=representatives)
    places = [allowed] * longest if isinstance(allowed, str) else list(allowed)
    if len(places) != longest:
        raise ConfigError(
            f"`allowed` has {len(places)} positions, but texts have up to {longest} characters"
        )
    unknown = "".join(dict.fromkeys("".join(map(charset.unknown, places))))
    known = [[s for s in symbols if s in charset.alphabet] for symbols in places]
    for position, symbols in enumerate(known, 1):
        if not symbols:
            lacks = f"; the alphabet has no {quote(unknown)}" if unknown else ""
            raise ConfigError(f"`allowed`, position {position}: it has no symbols{lacks}")
    if unknown:
        warnings.warn(
            f"the alphabet has no {quote(unknown)}; the other allowed symbols are used",
            stacklevel=3,
        )
    folded = [{fold[charset.alphabet.index(symbol)] for symbol in symbols} for symbols in known]
    mask = tuple(tuple(k in some for k in range(len(fold))) for some in folded)
    return Decoder(0, shortest, longest, mask, representatives)


class Beam(NamedTuple):
    """The prefixes that a search keeps, in no order. A free entry has log-probability -inf."""

    ids: Int[Array, "W T"]  # padded with PAD
    lengths: Int[Array, " W"]
    blank: Float[Array, " W"]  # log-probability of the paths so far that end in a blank
    symbol: Float[Array, " W"]  # log-probability of those that end in the last symbol

    @property
    def score(self) -> Float[Array, " W"]:
        return jnp.logaddexp(self.blank, self.symbol)


def beam_search(
    logits: Float[Array, "B T K"], width: int, n_best: int
) -> tuple[Int[Array, "B {n_best} T"], Float[Array, "B {n_best}"]]:
    """Prefix beam search: the most probable texts, summed over their alignments.

    Graves & Jaitly 2014, algorithm 1, without a language model. A text that is dropped on the
    way loses the paths that led to it, so probabilities are lower bounds. They are exact if the
    beam is as wide as the number of texts.

    Args:
      logits: scores of the classes.
      width: prefixes kept at each step.
      n_best: texts returned, at most `width`.

    Returns:
      The ids, best first, padded with PAD, and the log-probabilities, which are -inf where fewer
      texts were found.
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
    beyond = positions[None, None, :] >= beam.lengths[:, None, None]  # of the parent
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


def best_path(
    logits: Float[Array, "B T K"],
    shortest: int,
    longest: int,
    allowed: Bool[Array, "positions symbols"] | None = None,
) -> tuple[Int[Array, "B {longest}"], Float[Array, " B"]]:
    """Finds the most probable path whose text has a known form, by exact dynamic programming.

    If the greedy text has that form, the result is the same text. If not, the greedy text is wrong.

    Args:
      logits: scores of the classes.
      shortest, longest: the length of the text, in characters, ends included.
      allowed: which symbols may stand at each position; None is all.

    Returns:
      The ids, padded with PAD, and the log-probability of the path. If no path has the form, for
      example if the text is longer than T, all ids are PAD and the log-probability is -inf.
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
        best = jnp.argmax(options)
        begins = best >= 2
        k = jnp.where(begins, best - 2, jnp.where(best == 1, blank, k))
        return (n + begins, k), jnp.where(begins, k, PAD)

    begun = jax.lax.scan(follow, (jnp.int32(0), jnp.int32(blank)), (log_p, afters))[1]  # [T]
    score = values[0, 0, blank]
    # Each character that begins moves to its rank, as in the greedy decoder.
    is_character = (begun != PAD) & jnp.isfinite(score)
    target = jnp.where(is_character, jnp.cumsum(is_character) - 1, longest)
    ids = jnp.full(longest + 1, PAD, jnp.int32).at[target].set(begun.astype(jnp.int32))
    return ids[:longest], score
