"""Stands in for functions that fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, NoReturn


def failing(error: BaseException) -> Callable[..., Any]:
    """Returns a function that raises an error, whatever its arguments."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    return fail


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
