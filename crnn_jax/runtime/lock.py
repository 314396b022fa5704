"""One writer per directory: a second process is refused, and a lock ends with its process."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

from crnn_jax.errors import RunError
from crnn_jax.runtime import files, held

FILE = "lock"  # names the last holder; a file that stays behind locks nothing
_TIMEOUT = 2.0  # seconds to wait until a process that has just taken the lock writes its name


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Locks a directory against other processes. Makes the directory first if it does not exist.

    The lock is the kernel's (flock) and ends with the process, however the process ends. Where
    there is no flock, as on Windows, nothing is locked. Until the context ends, writes below the
    directory fail once it has been removed or replaced (held.py). If the directory was made here
    and nothing but the lock was written, it is removed again.

    Raises:
      RunError: another process holds the lock, or the directory cannot be written.
    """
    _check_name(directory)
    made = _missing(directory)
    with contextlib.ExitStack() as stack:
        _acquire(directory, stack)
        stack.enter_context(held.hold(directory, FILE))
        stack.callback(_clear, directory, made)
        yield


def is_held(directory: Path) -> bool:
    """Whether any process, this one included, holds the lock of a directory."""
    try:
        import fcntl

        with (directory / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def _acquire(directory: Path, stack: contextlib.ExitStack) -> None:
    """Takes the lock until `stack` is closed."""
    path, deadline = directory / FILE, time.monotonic() + _TIMEOUT
    while True:
        holder = ""
        with contextlib.ExitStack() as attempt:
            try:
                file = attempt.enter_context(files.opened(path))
            except RunError as error:
                # Another start may have failed and removed the directory that it had made.
                if not isinstance(error.__cause__, FileNotFoundError) or _is_late(deadline):
                    raise
            else:
                found = _take(file, path)
                if found is None:
                    stack.push(attempt.pop_all())
                    return
                holder = found
        if holder and _is_alive(holder):
            raise _in_use(directory, holder)
        if _is_late(deadline):
            raise _in_use(directory, holder or "another process")
        time.sleep(0.01)


def _take(file: io.FileIO, path: Path) -> str | None:
    """Returns None if this process has the lock now, else the holder that the file names."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return file.read(200).decode(errors="replace").strip()
    except (ImportError, OSError):  # no flock on this system or file system
        return None
    try:
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return ""  # the file was removed after we opened it
    except FileNotFoundError:
        return ""
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    except OSError as error:
        raise files.unwritable(path, error) from error
    return None


def _is_alive(holder: str) -> bool:
    """Whether the holder runs. False only for a process of this machine that is gone.

    Then the new holder has not written its name yet.
    """
    match = re.fullmatch(r"process (\d+) on (.*)", holder)
    if match and match[2] == platform.node():
        try:
            os.kill(int(match[1]), 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True
    return True


def _is_late(deadline: float) -> bool:
    return time.monotonic() > deadline


def _in_use(directory: Path, holder: str) -> RunError:
    return RunError(
        f"{directory} is in use by {holder}; wait for it to end, or choose another --workdir"
    )


def _check_name(directory: Path) -> None:
    """RunError for a name that Orbax cannot write to. On Linux, Orbax never sees the name."""
    try:
        os.fspath(directory.absolute()).encode()
    except UnicodeEncodeError:
        if not os.path.isdir("/proc/self/fd"):
            raise RunError(
                f"{directory}: the name is not UTF-8; choose another --workdir"
            ) from None


def _missing(directory: Path) -> list[Path]:
    """Returns the directory and those of its parents that do not exist, innermost first."""
    result = []
    for path in (directory, *directory.parents):
        if os.path.lexists(path):
            break
        result.append(path)
    return result


def _clear(directory: Path, made: list[Path]) -> None:
    """Removes the lock file if nothing else was written, then the directories made for it."""
    with contextlib.suppress(OSError, RunError):
        if os.listdir(directory) == [FILE]:
            held.anchored(directory / FILE).unlink()
            for path in made:
                path.rmdir()
