"""The symbols of texts: class ids, required time steps, and symbols that count as one."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from crnn_jax import bidi, clusters
from crnn_jax.errors import ConfigError, quote

PAD = -1  # right padding of labels and decoded ids; never a class
CASES = ("keep", "lower", "upper")


@dataclasses.dataclass(frozen=True)
class Charset:
    """Symbols in the order of their class ids; the blank is the class after the last symbol.

    Every Unicode code point is a separate symbol, including a combining mark that has no composed
    form with its letter, unless `marks` is joined (see `clusters`). Case matters. Ids follow the
    image from left to right. So do texts, unless the direction is rtl (see `bidi`).
    """

    alphabet: str  # the symbols, one after another
    direction: str = "ltr"
    marks: str = "separate"
    # Letters that also occur in images. Each is read as the letter of the alphabet that differs
    # from it only in case.
    other_cases: str = ""

    def __post_init__(self) -> None:
        if not self.alphabet:
            raise ConfigError("the alphabet is empty")
        if any("\ud800" <= c <= "\udfff" for c in self.alphabet):
            raise ConfigError(f"the alphabet {quote(self.alphabet)} contains an unpaired surrogate")
        if self.marks == clusters.JOINED and clusters.is_mark(self.alphabet[0]):
            raise ConfigError(
                f"the alphabet {quote(self.alphabet)} begins with a combining mark; with "
                "data.marks=joined, each mark follows its letter"
            )
        if wrong := [s for s in self.split(self.other_cases) if s not in self.missing_cases]:
            raise ConfigError(
                f"{quote(wrong[0])} is not the other case of any letter in the alphabet "
                f"{quote(self.alphabet)}"
            )
        if twice := sorted(s for s, count in Counter(self.symbols).items() if count > 1):
            joined = Counter(clusters.split(unicodedata.normalize("NFC", self.alphabet)))
            hint = "; with data.marks=joined, a letter and its combining marks are one symbol"
            raise ConfigError(
                f"data.alphabet contains {quote(''.join(twice))} more than once"
                + (hint if max(joined.values()) == 1 else "")
            )

    @classmethod
    def derive(
        cls, texts: Iterable[str], direction: str = "ltr", marks: str = "separate"
    ) -> Charset:
        """Returns the charset of all symbols in `texts`, sorted."""
        symbols = {symbol for text in texts for symbol in clusters.split(text, marks)}
        return cls("".join(sorted(symbols)), direction, marks)

    def completed(self) -> Charset:
        """Adds all ASCII digits if two are present; likewise all capitals and all small letters."""
        symbols = set(self.symbols)
        for kind in (string.digits, string.ascii_uppercase, string.ascii_lowercase):
            if len(symbols & set(kind)) > 1:
                symbols |= set(kind)
        return dataclasses.replace(self, alphabet="".join(sorted(symbols)))

    @functools.cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in the order of their class ids."""
        return tuple(self.split(self.alphabet))

    def split(self, text: str) -> list[str]:
        """Splits a text into symbols, in the order in which it is typed."""
        if self.marks == clusters.JOINED:  # a mark is composed with its letter where that exists
            text = unicodedata.normalize("NFC", text)
        return clusters.split(text, self.marks)

    @property
    def num_classes(self) -> int:
        """The number of classes K: the symbols and the blank."""
        return len(self.symbols) + 1

    @property
    def blank(self) -> int:
        """Class id of the CTC blank, K - 1 as in Keras."""
        return len(self.symbols)

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """Class ids by symbol, as a dict because an alphabet can have thousands of symbols."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    @functools.cached_property
    def missing_cases(self) -> Mapping[str, int]:
        """Letters that the alphabet has only in the other case, with the class ids of those.

        Letters whose other case has several code points, such as ß in upper case, are left out.
        """
        found: dict[str, int] = {}
        for symbol, i in self.ids.items():
            other = symbol.swapcase()
            if len(other) == len(symbol) and other not in self.ids:
                found.setdefault(other, i)
        return found

    @property
    def classes_of_other_cases(self) -> tuple[int, ...]:
        """The class of each letter of `other_cases`."""
        return tuple(self.missing_cases[s] for s in self.split(self.other_cases))

    def unknown(self, text: str) -> str:
        """Returns the symbols of `text` that the alphabet lacks, sorted, each once."""
        return "".join(sorted(set(self.split(text)) - self.ids.keys()))

    def encode(self, texts: Sequence[str], skip_unknown: bool = False) -> np.ndarray:
        """Converts texts to i32 [N, L], padded on the right with PAD.

        Args:
          texts: N texts, the longest of L symbols.
          skip_unknown: leave out symbols that are not in the alphabet.

        Raises:
          KeyError: a symbol is not in the alphabet, and `skip_unknown` is off.
          ConfigError: the direction is rtl, and python-bidi is not installed.
        """
        ids = self.ids
        width = max((len(self.split(text)) for text in texts), default=0)
        labels = np.full((len(texts), width), PAD, np.int32)  # [N, L]
        for row, text in zip(labels, texts, strict=True):  # one at a time: there can be millions
            symbols = self.split(text)
            if self.direction == bidi.RIGHT_TO_LEFT:
                symbols = clusters.in_image(symbols)
            known = [ids[s] for s in symbols if not skip_unknown or s in ids]
            row[: len(known)] = known
        return labels

    def decode(self, ids: Iterable[int]) -> str:
        """Converts one row of ids to text; PAD is skipped."""
        found = [self.symbols[i] for i in ids if i != PAD]
        if self.direction == bidi.RIGHT_TO_LEFT:
            found = clusters.as_typed(found)
        return "".join(found)


def required_steps(text: Sequence[str]) -> int:
    """Returns the fewest time steps in which CTC can emit a text, given by its symbols.

    Each symbol takes one step, and two equal neighbors need a blank between them
    (Graves et al. 2006, section 3.1). `bidi.visual` does not change the number: symbols that become
    neighbors only in the image differ in direction, so they are not equal.
    """
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))


_LOOK_ALIKES = str.maketrans("oil", "011")


def merge_look_alikes(text: str) -> str:
    """Case-folds `text` and replaces look-alikes: o by 0, and i and l by 1."""
    return text.casefold().translate(_LOOK_ALIKES)


@dataclasses.dataclass(frozen=True)
class Folding:
    """A map of symbols: first to a case, then to the first symbol of their group."""

    case: str = "keep"
    groups: tuple[str, ...] = ()  # groups of symbols, in the case `case`

    def __call__(self, text: str) -> str:
        """Maps every symbol of `text`. The number of symbols stays the same."""
        return "".join(map(self._fold, text))

    def representatives(self, alphabet: Sequence[str]) -> tuple[int, ...]:
        """Returns, for each symbol of `alphabet`, the index of its representative in `alphabet`.

        Symbols that are mapped to the same symbol share a representative: that symbol; or, if the
        alphabet lacks it, the first symbol of its group that the alphabet has; or else the first
        of these symbols in the alphabet.
        """
        places = {symbol: i for i, symbol in enumerate(alphabet)}
        members: dict[str, list[str]] = {}
        for symbol in places:
            members.setdefault(self._fold(symbol), []).append(symbol)
        first: dict[str, int] = {}
        for target, symbols in members.items():
            group = next((g for g in self.groups if target in g), target)
            found = next((s for s in group if s in symbols), symbols[0])
            first[target] = places[found]
        return tuple(first[self._fold(symbol)] for symbol in places)

    def _fold(self, symbol: str) -> str:
        symbol = _in_case(symbol, self.case)
        return next((group[0] for group in self.groups if symbol in group), symbol)


def parse_folding(case: str, merge: str, prefix: str = "") -> Folding:
    """Builds the folding of the two settings `case` and `merge`.

    Args:
      case: keep, lower or upper.
      merge: comma-separated groups of symbols, such as '0O,1Il'. Each symbol counts as the first
        one of its group. White space is ignored. With a case other than keep, the groups are
        converted to that case: in lower case, '0O' is the group of 0 and o.
      prefix: prepended to the names of the settings in error messages, such as 'data.'.

    Raises:
      ConfigError: the case is unknown, a group has fewer than two symbols, or a symbol is in two
        groups. The message names the setting.
    """
    if case not in CASES:
        raise ConfigError(f"{prefix}case must be {' or '.join(CASES)}, not {quote(case)}")
    if any("\ud800" <= c <= "\udfff" for c in merge):
        raise ConfigError(f"{prefix}merge: {quote(merge)} contains an unpaired surrogate")
    # Labels are normalized to NFC, too.
    given = "".join(unicodedata.normalize("NFC", merge).split())
    groups: list[str] = []
    seen: dict[str, str] = {}
    for group in filter(None, given.split(",")):
        if len(set(group)) < 2:
            raise ConfigError(
                f"{prefix}merge: the group {quote(group)} has fewer than two symbols; write groups "
                "of symbols that count as one, such as 0O,1Il"
            )
        folded = _once(_in_case(symbol, case) for symbol in group)
        for symbol in folded:
            if symbol in seen:
                raise ConfigError(
                    f"{prefix}merge: {quote(symbol)} is in the groups {quote(seen[symbol])} and "
                    f"{quote(group)}{'' if case == 'keep' else f' (in {case} case)'}; join the two "
                    "groups, or take the symbol out of one"
                )
            seen[symbol] = group
        groups.append(folded)
    return Folding(case, tuple(groups))


def _in_case(symbol: str, case: str) -> str:
    """Converts a symbol to a case, unless the result has several symbols (ß in upper case)."""
    if case == "keep":
        return symbol
    changed = symbol.lower() if case == "lower" else symbol.upper()
    return changed if len(changed) == len(symbol) else symbol


def _once(symbols: Iterable[str]) -> str:
    return "".join(dict.fromkeys(symbols))
