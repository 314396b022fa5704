"""Warns of labels of a label file that look like something else than the texts of the images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from crnn_jax.data import index_report, name_report
from crnn_jax.data.doubt import CORRECT, FEW, Doubt, count_labels, examples_of
from crnn_jax.data.index_report import HASH
from crnn_jax.errors import one_line, quote

# What people and programs write for a missing label or an error, casefolded.
_MISSING = frozenset([
    "nan", "none", "null", "n/a", "na", "nil", "unk", "<unk>", "[unk]", "unknown", "unlabeled",
    "illegible", "unreadable", "empty", "missing", "undefined", "todo", "tbd",
    "#n/a", "#value!", "#name?", "#ref!", "#div/0!", "#num!", "#null!",
])  # fmt: skip
_SCORE = re.compile(r"0\.\d+|1\.0+")
_MOST = 10  # characters of a file name that is taken for a text
_END = ".!?\u2026"  # marks that end a sentence
_MANY = 4  # words of a label; so many are rare in texts of captchas


def doubts(names: dict[str, str]) -> list[Doubt]:
    """Returns what looks wrong in the labels by file, except for rare symbols."""
    labels = list(names.values())
    if len(labels) >= FEW and len(set(labels)) == 1 and labels[0]:
        return [Doubt(f"all {len(labels)} images have the label {quote(labels[0])}", CORRECT)]
    if len(labels) >= FEW and name_report.are_kinds(labels):
        what = f"the {len(labels)} images have only {len(set(labels))} different labels, such as"
        return [Doubt(f"{what} {examples_of(names)}", f"{CORRECT} if these are not their texts")]
    if doubt := _columns(names) or _numbers(names):
        return [doubt]
    return (_affixes(names) or _padding(names)) + _marks(names) + _of_other_length(names)


def of_names(texts: dict[str, str], names: dict[str, str]) -> Doubt | None:
    """Warns of labels that differ from file names that look like texts.

    Args:
      texts: the labels that the file names would give, without any doubt about them.
      names: the labels.
    """
    words = set(texts.values())
    if doubt := _of_zeros(texts, names):
        return doubt
    is_text = all(2 < len(word) <= _MOST and word.isalnum() for word in words)
    has_letters = 2 * sum(not word.isdecimal() for word in words) >= len(words)
    if len(texts) < FEW or not is_text or not has_letters or 10 * len(words) < 9 * len(texts):
        return None  # numbers can be those of the images
    if all(map(HASH.fullmatch, words)) or not _could_be_labels(texts, names):
        return None
    if doubt := _of_case(texts, names):
        return doubt
    other = {
        file: label
        for file, label in names.items()
        if _plain(label) not in (_plain(texts[file]), _plain(name_report.stem(file)))
    }
    if len(other) < FEW or 20 * len(other) < len(names):
        return None
    return Doubt(
        f"the file names look like texts, and {len(other)} of {len(names)} differ from the labels, "
        f"such as {examples_of(other, 2)}",
        "; if the names are the texts of the images, remove the label file",
    )


def _of_zeros(texts: dict[str, str], names: dict[str, str]) -> Doubt | None:
    """Warns of digits that are shorter than those of the file name, if other labels equal theirs.

    Names that count the images have zeros that the images do not show.
    """
    other = {file: label for file, label in names.items() if label != texts[file]}
    shorter = {
        file: label
        for file, label in other.items()
        if texts[file].isdecimal() and label == (texts[file].lstrip("0") or "0")
    }
    if not shorter or len(names) < FEW or 10 * (len(other) - len(shorter)) > len(names):
        return None
    if index_report.are_counted(list(texts.values())):
        return None
    what = f"{count_labels(shorter, 'have')} lost the zeros of the file names, such as"
    return Doubt(f"{what} {examples_of(shorter)}", f"{CORRECT} if the zeros are in the images")


def _of_case(texts: dict[str, str], names: dict[str, str]) -> Doubt | None:
    """Warns of labels in one case whose file names have both."""
    folded = {
        file: label
        for file, label in names.items()
        if _letters(label) != _letters(texts[file]) and _plain(label) == _plain(texts[file])
    }
    if len(folded) < FEW or _has_both("".join(names.values())):
        return None
    if not _has_both("".join(texts.values())):
        return None
    what = f"{len(folded)} labels have lost the case of the file names, such as"
    return Doubt(f"{what} {examples_of(folded)}", f"{CORRECT} if the case matters")


def _has_both(text: str) -> bool:
    """Whether a text has letters of both cases."""
    return text not in (text.lower(), text.upper())


def _could_be_labels(texts: dict[str, str], names: dict[str, str]) -> bool:
    """Whether the texts of the names, and not the labels, may be those of the images.

    Names can also be random, so this takes a sign: some names are right, or they have the lengths
    and the symbols of the labels, or the labels are few values, hashes or running numbers.
    """
    words, labels = list(map(_plain, texts.values())), list(map(_plain, names.values()))
    equal = sum(map(str.__eq__, words, labels))
    if 10 * equal >= len(words):
        return True
    symbols = set().union(*words) <= set().union(*labels)
    if symbols and set(map(len, words)) <= set(map(len, labels)):
        return True
    are_few = len(labels) >= 20 and 4 * len(set(labels)) <= len(labels)
    are_hashes = all(map(HASH.fullmatch, names.values()))
    return are_few or are_hashes or len(index_report.series(labels)) == len(labels)


def _plain(text: str) -> str:
    """Like `_letters`, without case."""
    return _letters(text).casefold()


def _letters(text: str) -> str:
    """Returns the letters and digits of a text; a file name cannot have all symbols."""
    return "".join(filter(str.isalnum, text))


def _columns(names: dict[str, str]) -> Doubt | None:
    """Warns of labels that are several columns of a list, such as `5 e52hs`."""
    fields = [label.split() for label in names.values()]
    number = len(fields[0]) if fields else 0
    if len(fields) < FEW or number < 2 or any(len(words) != number for words in fields):
        return None
    *before, last = ([words[i] for words in fields] for i in range(number))
    if all(map(_SCORE.fullmatch, last)):
        what = f"all labels end with a number between 0 and 1, such as {examples_of(names)}"
        return Doubt(what, "; if it is a confidence, leave only the texts")
    numbers = [column for column in before if _are_numbers(column)]
    if not numbers or _are_numbers(last):
        return None
    # Texts can have a number, such as that of a house, but not a class, a counter or a box.
    if number < _MANY and not any(map(_is_column, numbers)):
        return None
    what = f"all labels have {number} words, one of which is a number, such as {examples_of(names)}"
    return Doubt(what, "; if these are columns, leave only that of the texts")


def _numbers(names: dict[str, str]) -> Doubt | None:
    """Warns of labels that are lists of numbers, such as `5 53 52 60`, as of symbols of a list."""
    lists = [label.split() for label in names.values()]
    if len(lists) < FEW or not all(map(_are_numbers, lists)):
        return None
    if 2 * sum(len(numbers) >= _MANY for numbers in lists) < len(lists):
        return None
    if len({len(number) for numbers in lists for number in numbers}) == 1:
        return None  # groups of a text
    what = f"all labels are lists of numbers, such as {examples_of(names)}"
    return Doubt(what, "; if these number the symbols of a list, write the texts instead")


def _is_column(numbers: Sequence[str]) -> bool:
    """Whether these are few numbers, running ones, or several with commas."""
    has_commas = any("," in number for number in numbers)
    are_few = len(set(numbers)) <= min(10, len(numbers) / 4)
    return has_commas or are_few or index_report.is_running(numbers, False)


def _are_numbers(texts: Sequence[str]) -> bool:
    """Whether all texts are numbers, or several with commas, as of a box."""
    return all(re.fullmatch(r"[-+]?\d+([.,]\d+)*", text) for text in texts)


def _affixes(names: dict[str, str]) -> list[Doubt]:
    """Warns if all labels begin or end with the same characters."""
    labels = list(names.values())
    if len(labels) < FEW:
        return []
    begin, end = name_report.common(labels)
    if not end.strip("=?"):  # sums end in = or =?
        end = ""
    marks = [("begin", begin), ("end", end)]
    return [
        Doubt(
            f"all labels {verb} with {quote(mark)}, such as {examples_of(names)}",
            f"{CORRECT} if this is not in the images",
        )
        for verb, mark in marks
        if mark and not mark.isalnum()
    ]


def _padding(names: dict[str, str]) -> list[Doubt]:
    """Warns of a mark that is only at the end of labels, once or more, such as ab-- and abc-."""
    ends = Counter(label[-1:] for label in names.values())
    marks = {mark: n for mark, n in ends.items() if mark and not mark.isalnum()}
    mark = max(marks, key=marks.__getitem__, default="")
    if not mark or mark in _END or marks[mark] < FEW:
        return []
    padded = {file: label for file, label in names.items() if label.endswith(mark)}
    lengths = {len(label) - len(label.rstrip(mark)) for label in padded.values()}
    if len(lengths) < 2 or any(mark in label.rstrip(mark) for label in names.values()):
        return []
    what = f"{count_labels(padded, 'end')} with one or more {quote(mark)}, such as"
    return [Doubt(f"{what} {examples_of(padded)}", f"{CORRECT} if these are not in the images")]


def _of_other_length(names: dict[str, str]) -> list[Doubt]:
    """Warns of one label that is much longer or shorter than all others, which have one length."""
    lengths = Counter(map(len, names.values()))
    if len(lengths) != 2 or len(names) <= 2 * FEW or all(map(str.isdecimal, names.values())):
        return []
    (usual, _), (other, count) = lengths.most_common()
    if count > 1 or usual < 2 * other < 3 * usual:
        return []
    having = {file: label for file, label in names.items() if len(label) == other}
    what = f"all labels but one have {usual} characters: {examples_of(having)}"
    return [Doubt(what, "; check this label")]


def _marks(names: dict[str, str]) -> list[Doubt]:
    """Warns of a label that many images have, such as `?` or `nan`, if nearly all others differ."""
    label, count = Counter(names.values()).most_common(1)[0] if names else ("", 0)
    others = [other for other in names.values() if other != label]
    is_mark = label and (label.casefold() in _MISSING or not any(map(str.isalnum, label)))
    least = 3 if is_mark else max(FEW, len(names) / 20)
    # Such as xxxx; in running text, words repeat.
    is_word = len(label) > 2 and label.isalpha() and 2 * sum(map(str.isalpha, others)) < len(others)
    if not (is_mark or is_word) or count < least or len(others) < FEW:
        return []
    if 10 * len(set(others)) < 9 * len(others):
        return []
    having = next(file for file, text in names.items() if text == label)
    what = f"{count} labels are {quote(label)}, such as that of {one_line(having)[-60:]}, and"
    remedy = "; if it marks images that nobody can read, remove their rows"
    return [Doubt(f"{what} nearly all others differ", remedy)]
