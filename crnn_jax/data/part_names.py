"""The parts of a data set (train, val, test), by the names of folders, label files and columns."""

from __future__ import annotations

import functools
import re
from pathlib import PurePath

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_path(name: str) -> list[str]:
    """Splits a path of any system, without drive, `.` and `..`."""
    parts = name.replace("\\", "/").split("/")
    if len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return [part for part in parts if part not in ("", ".", "..")]


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


@functools.lru_cache(maxsize=4096)  # a million rows name few folders
def _of_name(name: str) -> str:
    """Returns the part that a name contains as a word; "" if it contains none or several."""
    found = {PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PARTS}
    return found.pop() if len(found) == 1 else ""
