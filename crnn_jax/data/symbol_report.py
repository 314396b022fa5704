"""Warns of symbols in labels that are rare, look like others, or are codes of a program."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from crnn_jax.data.doubt import CORRECT, FEW, Doubt, count_labels, examples_of, with_patterns
from crnn_jax.data.index_report import SUM
from crnn_jax.errors import quote

# How programs write characters: in addresses, in archives, in HTML and in source code, each
# with its sign and the number of labels that show it. A form of two characters needs more.
_CODES = (
    ("%", re.compile("%[0-9A-Fa-f]{2}"), 1),
    ("#U", re.compile("#U[0-9a-f]{4}"), 1),
    ("&", re.compile(r"&(#\d+|#x[0-9a-fA-F]+|[a-z]+);"), 1),
    ("<", re.compile("<br ?/?>", re.IGNORECASE), 1),
    ("\\", re.compile(r"\\[nrt]"), FEW),
)
# Letters of Cyrillic and Greek that look like Latin ones.
_LIKE_LATIN = re.compile("[асеорхуіјѕАВЕІЈКМНОРЅСТХУοΑΒΕΖΗΙΚΜΝΟΡΤΥΧ]")  # noqa: RUF001
# What people write between characters, and how many characters show it: names can have two indices.
_BETWEEN = {"_": 4, " ": 3, "-": 3, ".": 3, ",": 3, "|": 3}
_MOST_MARKS = 2
_PUNCTUATION = frozenset(string.punctuation + string.whitespace)


def encoded(names: dict[str, str], from_names: bool) -> Doubt | None:
    """Warns of characters that are written as codes, such as %2B for a plus.

    The sign of a code can also be a symbol of its own, so it must begin a code wherever it is.
    """
    for sign, code, least in _CODES:
        having = {file: text for file, text in names.items() if sign in text}
        if len(having) < least:
            continue
        if all(text.count(sign) == len(code.findall(text)) for text in having.values()):
            what = f"characters are written as codes in {count_labels(having)}, such as"
            remedy = "; decode the file names first" if from_names else "; decode the labels first"
            return Doubt(f"{what} {examples_of(having)}", remedy)
    return None


def spaced(texts: Sequence[str], names: dict[str, str], where: str) -> Doubt | None:
    """Warns of texts whose characters are all separated, such as r_n_e_5_a.

    Args:
      texts: the names without the extension, or the labels.
      names: the labels by file, for examples.
      where: what the texts are.
    """
    if len(texts) < FEW or all(map(SUM.fullmatch, texts)):
        return None
    for separator, least in _BETWEEN.items():
        if all(
            len(text) > 2 * least - 2
            and len(text) % 2
            and set(text[1::2]) == {separator}
            and separator not in text[::2]
            for text in texts
        ):
            what = f"all characters are separated by {quote(separator)}, such as"
            remedy = f"; remove it from the {where} if it is not in the images"
            return Doubt(f"{what} {examples_of(names)}", remedy)
    return None


def look_alikes(names: dict[str, str], from_names: bool) -> list[Doubt]:
    """Warns of different symbols that look alike, as after typing on two keyboards."""
    where = "; rename the files" if from_names else CORRECT
    symbols = sorted(set().union(*names.values()))
    forms: dict[str, list[str]] = {}
    for symbol in symbols:
        forms.setdefault(_plain(symbol), []).append(symbol)
    found = []
    if alike := ["".join(group) for group in forms.values() if len(group) > 1]:
        shown = " and ".join(", ".join(map(_named, group)) for group in alike[:3])
        found.append(Doubt(f"some symbols are forms of the same one: {shown}", where))
    blanks = [c for c in symbols if c.isspace() and c != " "]
    if blanks:
        shown = ", ".join(map(_named, blanks))
        found.append(Doubt(f"some labels have an unusual space character: {shown}", where))
    mixed = {f: t for f, t in names.items() if _LIKE_LATIN.search(t) and re.search("[A-Za-z]", t)}
    if mixed:
        what = f"{count_labels(mixed, 'mix')} Latin letters with others that look like them"
        found.append(Doubt(f"{what}, such as {examples_of(mixed)}", where))
    return found


def _plain(symbol: str) -> str:
    """Returns the same character for all forms of a digit or letter, such as full-width ones."""
    if not symbol.isascii() and symbol.isdecimal():
        return str(unicodedata.decimal(symbol))
    return unicodedata.normalize("NFKC", symbol)


def _named(symbol: str) -> str:
    return f"{quote(symbol)} ({unicodedata.name(symbol, 'no name')})"


def odd(names: dict[str, str], from_names: bool) -> list[Doubt]:
    """Warns of symbols that few labels have."""
    if len(names) < FEW:
        return []
    counts = Counter(c for label in names.values() for c in set(label))
    median = sorted(counts.values())[len(counts) // 2] if counts else 0
    odd = {c for c, n in counts.items() if n <= 2 and median >= 20}
    uses = Counter(names.values())
    texts = [t for t in names.values() if not SUM.fullmatch(t) and (from_names or uses[t] < 3)]
    punctuation = set().union(*texts) & _PUNCTUATION
    if from_names:
        odd |= {c for c in punctuation if 2 * counts[c] < len(names)}
    elif len(punctuation) <= _MOST_MARKS:  # more are of running text
        odd |= {
            c
            for c in punctuation
            if c not in "'-." and 3 * counts[c] < len(names) and _changes_length(c, names)
        }
    has_kind = False  # few labels have digits, or few have letters
    for kind in (str.isdigit, str.isalpha) if from_names else ():
        members = {c for c in counts if kind(c)}
        having = sum(bool(members & set(label)) for label in names.values())
        if 0 < 5 * having < len(names):
            odd |= members
            has_kind = True
    if not odd:
        return []
    rare = {f: t for f, t in names.items() if odd & set(t)}
    is_one_length = len(set(map(len, names.values()))) == 1
    if 2 * len(rare) > len(names) and is_one_length:  # these are characters, not marks
        return []
    symbols = quote("".join(sorted(odd)))
    count = count_labels(rare, "have", f" of {len(names)}")
    what = f"only {count} one of the symbols {symbols}, such as {examples_of(rare)}"
    if not from_names:
        return [Doubt(what, "; check these labels")]
    marks = "".join(re.escape(c) for c in sorted(odd) if not c.isalnum())
    if not marks and not has_kind:
        return [Doubt(what, "; check these labels")]
    return [with_patterns(what, rare, *[f"^([^{marks}_]+)"] * bool(marks))]


def _changes_length(mark: str, names: dict[str, str]) -> bool:
    """Whether no label with a mark is as long as one without: then it is not of the alphabet."""
    having = {len(label) for label in names.values() if mark in label}
    return having.isdisjoint(len(label) for label in names.values() if mark not in label)
