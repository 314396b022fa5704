"""The alphabet: text to class ids and back, and how many time steps a text needs."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from crnn_jax.errors import ConfigError, quote

PAD = -1  # right padding of labels and decoded ids; never a class


@dataclasses.dataclass(frozen=True)
class Charset:
    """Symbols in the order of their class ids; the blank is the class after the last symbol.

    Every Unicode code point is a symbol of its own, and case counts.
    """

    alphabet: str

    def __post_init__(self) -> None:
        if not self.alphabet:
            raise ConfigError("the alphabet is empty")
        if any("\ud800" <= c <= "\udfff" for c in self.alphabet):
            raise ConfigError(f"the alphabet {quote(self.alphabet)} holds half a character")
        if twice := sorted(c for c, count in Counter(self.alphabet).items() if count > 1):
            raise ConfigError(f"data.alphabet names {quote(''.join(twice))} more than once")

    @classmethod
    def derive(cls, texts: Iterable[str]) -> Charset:
        """The sorted set of all characters in `texts`."""
        return cls("".join(sorted(set("".join(texts)))))

    @property
    def num_classes(self) -> int:
        """K: the symbols and the blank."""
        return len(self.alphabet) + 1

    @property
    def blank(self) -> int:
        """Class id of the CTC blank, K - 1 as in Keras."""
        return len(self.alphabet)

    def unknown(self, text: str) -> str:
        """The characters of `text` that the alphabet lacks, sorted, each once."""
        return "".join(sorted(set(text) - set(self.alphabet)))

    def encode(self, texts: Sequence[str], skip_unknown: bool = False) -> np.ndarray:
        """Texts to i32 [N, L], padded on the right with PAD.

        Args:
          texts: N texts, the longest of L characters.
          skip_unknown: leave out characters that are not in the alphabet.

        Raises:
          KeyError: a character is not in the alphabet, and `skip_unknown` is off.
        """
        ids = {c: i for i, c in enumerate(self.alphabet)}
        labels = np.full((len(texts), max(map(len, texts), default=0)), PAD, np.int32)  # [N, L]
        for row, text in zip(labels, texts, strict=True):
            known = [ids[c] for c in text if not skip_unknown or c in ids]
            row[: len(known)] = known
        return labels

    def decode(self, ids: Iterable[int]) -> str:
        """One row of ids to text; PAD is skipped."""
        return "".join(self.alphabet[i] for i in ids if i != PAD)


def required_steps(text: str) -> int:
    """The fewest time steps in which CTC can emit `text`.

    A symbol takes one step, and a blank must stand between two equal neighbours
    (Graves et al. 2006, section 3.1).
    """
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))


_LOOK_ALIKES = str.maketrans("oil", "011")


def merge_look_alikes(text: str) -> str:
    """Case-folded text in which o is 0, and i and l are 1: what schemes label in different ways."""
    return text.casefold().translate(_LOOK_ALIKES)
