"""One writer for a directory: a second one is refused, and a dead one is no hindrance."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from crnn_jax import disk
from crnn_jax.errors import RunError

FILE = "lock"  # names the last holder; it stays behind, which locks nothing


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Keeps other processes from writing to a directory, which is made if need be.

    The lock is the kernel's (flock) and ends with the process, however that ends. Where there is
    no flock, as on Windows, nothing is locked.

    Raises:
      RunError: another process holds it, or the directory cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = directory / FILE
    with disk.opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).decode(errors="replace").strip() or "another process"
            raise RunError(
                f"{directory} is in use by {holder}; wait for it to end, or choose another "
                "--workdir"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        except OSError as error:
            raise disk.unwritable(path, error) from error
        yield


def is_held(directory: Path) -> bool:
    """Whether a process, this one or another, keeps others from writing to a directory."""
    try:
        import fcntl

        with (directory / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
