"""Decoders: greedy, by beam search, or by the best path of a known form."""

from __future__ import annotations

import dataclasses
import operator
import warnings
from collections.abc import Sequence
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from crnn_jax.charset import Charset, Folding, parse_folding
from crnn_jax.errors import ConfigError, quote
from crnn_jax.models import greedy
from crnn_jax.models.beam_search import beam_search
from crnn_jax.models.best_path import best_path

MAX_BEAM = 256  # a batch needs about 15 MB for each prefix of the beam
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
    # The symbols that the classes of the last two fields stand for. Not part of the program.
    symbols: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def accepts(self, ids: Sequence[int]) -> bool:
        """Whether a text, as ids without padding, has the known form."""
        if not self.longest:
            return True
        if not self.shortest <= len(ids) <= self.longest:
            return False
        return not self.allowed or all(self.allowed[place][k] for place, k in enumerate(ids))

    def __call__(self, logits: Float[Array, "B T K"]) -> Int[Array, "B L"]:
        """Returns the ids of the texts, padded with PAD."""
        logits = self.merged(logits, -jnp.inf)
        if self.beam:
            return beam_search(logits, self.beam, 1)[0][:, 0]
        if self.longest:
            allowed = jnp.asarray(self.allowed) if self.allowed else None
            return best_path(logits, self.shortest, self.longest, allowed)[0]
        return greedy.greedy_decode(logits)

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


def of_lengths(lengths: tuple[int, int] | None, num_steps: int) -> Decoder:
    """Returns the decoder for texts of these lengths, at most T; the greedy one for None."""
    if lengths is None:
        return GREEDY
    shortest, longest = (min(length, num_steps) for length in lengths)
    return Decoder(shortest=shortest, longest=longest)


def checked(given: Any, charset: Charset, num_steps: int) -> Decoder:
    """Returns the decoder that was given for a reader with these symbols and T time steps.

    Raises:
      ConfigError: it is no decoder, its classes stand for other symbols, or its texts are longer
        than T.
    """
    if not isinstance(given, Decoder):
        raise ConfigError(
            f"`decoder` must be made with reader.decoder(...), not {quote(given)}; pass several "
            "images as a list"
        )
    if (given.allowed or given.representatives) and given.symbols != charset.symbols:
        raise ConfigError(
            "this decoder is that of a reader with other symbols; make it with reader.decoder(...) "
            "of the reader that uses it"
        )
    if given.shortest > num_steps:
        raise ConfigError(
            f"this decoder reads texts of at least {given.shortest} characters, but the reader has "
            f"{num_steps} time steps"
        )
    return given


def _integer(name: str, value: Any) -> int:
    """Converts an integer of any type, such as numpy's, to int. ConfigError: not an integer."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ConfigError(f"`{name}` must be a whole number, not {quote(value)}")


def decoder(
    charset: Charset,
    num_steps: int,
    beam: SupportsIndex = 0,
    length: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None = None,
    allowed: str | Sequence[str] | None = None,
    case: str = "keep",
    merge: str = "",
) -> Decoder:
    """Builds a decoder from the options of a user.

    Args:
      charset: the symbols of the reader.
      num_steps: T of the reader's logits.
      beam: width of a prefix beam search; 0 for none.
      length: the number of characters, or the least and the greatest number.
      allowed: a string of the symbols allowed at every position, or one string for each position,
        from the left of the image. A symbol also allows all symbols that are read as the same
        one. Symbols that the reader lacks are left out, with a warning.
      case: 'lower' or 'upper' reads each letter in that case, if the alphabet has both of its
        cases; 'keep' leaves letters as they are.
      merge: groups of symbols, such as '0O,1Il'; a symbol is read as the first of its group that
        the alphabet has; see `charset.parse_folding`. A group of which the reader has fewer than
        two symbols gives a warning.

    Raises:
      ConfigError: an option is invalid, or two cannot be combined; the message says which.
    """
    beam = _integer("beam", beam)
    if not 0 <= beam <= MAX_BEAM:
        raise ConfigError(f"`beam` must be 0 (off) or a width up to {MAX_BEAM}, not {beam}")
    if not isinstance(case, str) or not isinstance(merge, str):
        raise ConfigError(
            f"`case` and `merge` must be strings, not {quote(case)} and {quote(merge)}"
        )
    if allowed is not None and not (
        isinstance(allowed, Sequence) and all(isinstance(symbols, str) for symbols in allowed)
    ):
        what = "a string, or a list with a string for each position"
        raise ConfigError(f"`allowed` must be {what}, not {quote(allowed)}")
    folding = parse_folding(case, merge)
    _warn_of_idle(folding, charset)
    fold = folding.representatives(charset.symbols)
    representatives = fold if fold != tuple(range(len(fold))) else ()
    made = Decoder(beam=beam, representatives=representatives, symbols=charset.symbols)
    if length is None and allowed is None:
        return made
    if beam:
        raise ConfigError("`beam` cannot be combined with `length` or `allowed`")
    shortest, longest = _lengths(length, allowed, num_steps)
    made = dataclasses.replace(made, shortest=shortest, longest=longest)
    if allowed is None:
        return made
    places = [allowed] * longest if isinstance(allowed, str) else list(allowed)
    if len(places) != longest:
        raise ConfigError(
            f"`allowed` has {len(places)} positions, but texts have up to {longest} characters"
        )
    return dataclasses.replace(made, allowed=_mask(charset, places, fold))


def _warn_of_idle(folding: Folding, charset: Charset) -> None:
    """Warns of the groups of which the alphabet has fewer than two symbols."""
    if not folding.groups:
        return
    symbols = set(map(Folding(folding.case), charset.symbols))
    idle = [quote(group) for group in folding.groups if len(symbols & set(group)) < 2]
    if idle:
        warnings.warn(
            "`merge`: these groups have no effect, because the alphabet has fewer than two of "
            f"their symbols: {', '.join(idle)}",
            stacklevel=4,
        )


def _lengths(length: Any, allowed: str | Sequence[str] | None, num_steps: int) -> tuple[int, int]:
    """Returns the least and the greatest number of characters that the options allow."""
    if length is None:
        length = (0, num_steps) if isinstance(allowed, str) else len(allowed or ())
    pair = length if isinstance(length, (tuple, list)) else (length, length)
    if len(pair) != 2:
        raise ConfigError(f"`length` must be a number or a pair (shortest, longest), not {length}")
    shortest, longest = (_integer("length", number) for number in pair)
    if shortest > longest:
        raise ConfigError(
            f"`length` is (shortest, longest): the smaller number comes first, not {shortest} to "
            f"{longest}"
        )
    if shortest < 0 or not 1 <= longest <= num_steps:
        raise ConfigError(
            f"`length` must be from 1 to {num_steps}, the number of time steps, not {shortest} to "
            f"{longest}"
        )
    return shortest, longest


def _mask(
    charset: Charset, places: Sequence[str], fold: tuple[int, ...]
) -> tuple[tuple[bool, ...], ...]:
    """Returns for each position and symbol whether the symbol may stand there.

    Args:
      charset: the symbols of the reader.
      places: the allowed symbols of each position.
      fold: for each symbol, the one that it is read as.
    """
    unknown = "".join(dict.fromkeys("".join(map(charset.unknown, places))))
    known = [[s for s in charset.split(text) if s in charset.ids] for text in places]
    for position, symbols in enumerate(known, 1):
        if not symbols:
            lacks = f"; the alphabet has no {quote(unknown)}" if unknown else ""
            raise ConfigError(f"`allowed`, position {position}: it has no symbols{lacks}")
    if unknown:
        warnings.warn(
            f"the alphabet has no {quote(unknown)}; the other allowed symbols are used",
            stacklevel=4,
        )
    folded = [{fold[charset.ids[symbol]] for symbol in symbols} for symbols in known]
    return tuple(tuple(k in some for k in range(len(fold))) for some in folded)
