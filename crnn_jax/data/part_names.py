"""The parts of a data set (train, val, test), by the names of folders, label files and columns."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from pathlib import PurePath

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_COMPOUND = re.compile(rf"({'|'.join(PARTS)})(set|images|imgs|data)")  # such as trainset
_CAMEL = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Columns of yes and no, by their names without punctuation: the parts of yes and of no.
_FLAGS = {
    **dict.fromkeys(("istrain", "istraining"), ("train", "test")),
    **dict.fromkeys(("isval", "isvalidation"), ("val", "train")),
    **dict.fromkeys(("istest", "istesting"), ("test", "train")),
}
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


def split_path(name: str) -> list[str]:
    """Splits a path of any system, without drive, `.` and `..`."""
    parts = name.replace("\\", "/").split("/")
    if len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return [part for part in parts if part not in ("", ".", "..")]


def words(name: str) -> set[str]:
    """Returns the words of a name in lower case: those of TrainSet_2 are trainset, train and set.

    Capitals may begin a word or not, so both are returned.
    """
    return set(re.findall("[a-z]+", f"{name} {_CAMEL.sub(' ', name)}".lower()))


def of_path(path: str) -> str:
    """Returns the part that a folder of the path names, such as `train` or `train_images`, else "".

    The path can be of POSIX or Windows. The folder nearest to the file counts:
    /home/dev/set/train/a.png is in the training part.
    """
    folders = map(_of_name, reversed(split_path(path)[:-1]))
    return next(filter(None, folders), "")


def of_file(name: str) -> str:
    """Returns the part in the name of a label file, such as train in rec_gt_train.txt."""
    return _of_name(PurePath(name).stem)


def of_values(values: Collection[str]) -> dict[str, str]:
    """Returns the part of each value of a column; empty unless all name parts, two at least."""
    found = {value: PARTS.get(value.lower(), "") for value in values}
    return found if all(found.values()) and len(set(found.values())) > 1 else {}


def of_flags(column: str, values: Collection[str]) -> dict[str, str]:
    """Returns the part of each value of a column such as is_train; empty if it is another column.

    Args:
      column: its name, in lower case and without punctuation.
      values: its different values.
    """
    if column not in _FLAGS:
        return {}
    yes, no = _FLAGS[column]
    parts = {**dict.fromkeys(_YES, yes), **dict.fromkeys(_NO, no)}
    found = {value: parts.get(value.lower(), "") for value in values}
    return found if all(found.values()) else {}


@functools.lru_cache(maxsize=4096)  # a million rows name few folders
def _of_name(name: str) -> str:
    """Returns the part that a name contains as a word; "" if it contains none or several."""
    found = set()
    for word in words(name):
        compound = _COMPOUND.fullmatch(word)
        found.add(PARTS.get(compound[1] if compound else word, ""))
    found.discard("")
    return found.pop() if len(found) == 1 else ""
