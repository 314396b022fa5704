"""What a person can mend: every message says what was wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
import sys
import unicodedata


class CrnnError(Exception):
    """Base of all errors that are meant for the person at the keyboard."""


class ConfigError(CrnnError):
    """A key that does not exist, or a value that cannot be."""


class DataError(CrnnError):
    """Images or labels that cannot be used; names every offending file."""


class RunError(CrnnError):
    """A run directory that cannot be used: of another config, unwritable, incomplete."""


class DamageError(RunError):
    """A checkpoint whose bytes are not those that were written."""


class TrainingError(CrnnError):
    """Training that cannot go on: the loss is no longer a number."""


def one_line(text: str) -> str:
    """As it can stand in a line: control characters and ends of lines escaped."""
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text
    )


def brief(text: object, most: int = 300) -> str:
    """`text` on one line, cut to `most` characters: for what a file or a server dictates."""
    line = one_line(str(text)[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)


def of_system(error: OSError) -> str:
    """What the system says, in a sentence that names the path; `error` itself if it has neither.

    The last resort of the programs' entry points: what reads and writes says more.
    """
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno not in _NO_ROOM:
        raise error
    with open(os.devnull, "w") as nowhere:  # or Python tries once more when it ends
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return f"the standard output cannot be written: {error.strerror}"
