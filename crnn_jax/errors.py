"""Errors for the user: every message says what is wrong, where, and what to do.

Values that come from files are embedded with `quote` or `one_line`. Entry points print a message
with `for_terminal`.
"""

from __future__ import annotations

import errno
import os
import reprlib
import unicodedata
from typing import Any

MAX_LINES, MAX_COLUMNS = 100, 1000  # limits for a message on the terminal


class CrnnError(Exception):
    """Base class of the errors that are shown to the user without a traceback."""


class ConfigError(CrnnError):
    """A config key does not exist, or its value is not allowed."""


class DataError(CrnnError):
    """Images or labels cannot be used. The message names every file concerned."""


class RunError(CrnnError):
    """A run directory cannot be used: it is incomplete, damaged, or has a different config."""


class DamageError(RunError):
    """The bytes of a checkpoint differ from those that were written."""


class TrainingError(CrnnError):
    """Training cannot continue: the loss is not finite, or unlabeled images cannot be read."""


class DeviceError(CrnnError):
    """JAX cannot compute in this process: no device, a forked process, or training in 64 bits."""


def one_line(text: str) -> str:
    """Escapes control characters, line ends, and marks that change the direction of text."""
    return "".join(repr(c)[1:-1] if _is_control(c) else c for c in text)


def _is_control(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in _DIRECTIONS


# A terminal shows the text after these marks in another order.
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxother, self.maxlevel = 200, 200, 3

    def repr_int(self, x: int, level: int) -> str:
        # The repr of an integer of more than 4300 digits raises a ValueError.
        return repr(x) if -(10**20) < x < 10**20 else f"an integer of {x.bit_length()} bits"


_SHORT = _Short()


def quote(value: Any) -> str:
    """Returns the repr of an untrusted value, on one line and of bounded length."""
    return one_line(_SHORT.repr(value))[:300]


def brief(text: object, most: int = 300) -> str:
    """Returns `text` on one line, cut to `most` characters. For text from a file or a server."""
    line = one_line(str(text)[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


def for_terminal(error: object) -> str:
    """Returns the text of an error or note in a form that is safe to print on a terminal.

    At most MAX_LINES lines of MAX_COLUMNS characters are kept, and the rest is counted. Control
    characters other than line ends are escaped.
    """
    lines = str(error).split("\n", MAX_LINES)
    rest = lines.pop() if len(lines) > MAX_LINES else None
    shown = [one_line(_cut(line)) for line in lines]
    if rest is not None:
        shown.append(f"... ({rest.count(chr(10)) + 1} more lines)")
    return "\n".join(shown)


def _cut(line: str) -> str:
    left_out = len(line) - MAX_COLUMNS
    if left_out <= 0:
        return line
    # The end is kept, because the reason follows the name at the start.
    end = MAX_COLUMNS // 4
    return f"{line[: MAX_COLUMNS - end]}... ({left_out} characters left out) ...{line[-end:]}"


STANDARD_OUTPUT = "standard output"  # a file name, added to its errors by terminal.py
_OF_FILES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EBADF),
    *(errno.EPERM, errno.ESTALE),
)


def system_error_message(error: OSError) -> str:
    """Returns the message for an OSError that no other code has handled.

    Errors of many calls, such as `close`, do not name a file. Then the message does not guess one.
    """
    what = brief(error.strerror or str(error) or type(error).__name__)
    if error.filename == STANDARD_OUTPUT:
        return f"{STANDARD_OUTPUT} cannot be written: {what}"
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {what}"
    if error.errno in _OF_FILES:
        return f"a file could not be read or written: {what}"
    return f"the system reports: {what}"
