"""What looks wrong in the labels of a data set: the form of each warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from crnn_jax.errors import one_line, quote

FEW = 5  # images; fewer are too few for most warnings
TO_FILE = "; put the labels into a label file (labels.csv with the header file,label)"
IN_FILE = (
    f"{TO_FILE}, or set data.label_pattern to a regular expression whose one group is the label"
)
_LONGEST = 60  # characters of a file name in a message
_OF_ONE = {"have": "has", "are": "is", "end": "ends", "mix": "mixes"}
CORRECT = "; correct the label file"
RENAME = "; rename these files by their texts, or remove them"


class Doubt(NamedTuple):
    """What looks wrong in some labels, and what to do."""

    what: str
    remedy: str = ""  # empty: rename the files, or set data.label_pattern
    patterns: tuple[str, ...] = ()  # proposals for data.label_pattern
    files: tuple[str, ...] = ()  # which a pattern is for; the first is shown with its result


def with_patterns(what: str, names: Iterable[str], *patterns: str) -> Doubt:
    """Returns a doubt about files, with proposals for data.label_pattern."""
    return Doubt(what, "", patterns, tuple(names))


def count_labels(names: Mapping[str, str], verb: str = "", of: str = "") -> str:
    """Returns the number of labels, with a verb in the right form: 1 label has, 2 labels have."""
    if len(names) == 1:
        return f"1 label{of} {_OF_ONE[verb]}" if verb else "1 label"
    return f"{len(names)} labels{of} {verb}".rstrip()


def examples_of(names: Mapping[str, str], most: int = 3) -> str:
    """Returns the first names with their labels, for messages."""
    return ", ".join(example_of(file, label) for file, label in list(names.items())[:most])


def example_of(file: str, label: str) -> str:
    name = one_line(file)
    base = name.rpartition("/")[2]
    if len(base) > _LONGEST:  # the label is often at the beginning of the name or at its end
        name = f"{base[:28]}...{base[-29:]}"
    name = name[-_LONGEST:]
    return f"{name} is {quote(label)}"
