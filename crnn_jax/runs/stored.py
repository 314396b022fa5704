"""Checks of a checkpoint's files, before and after Orbax opens them.

Orbax and tensorstore open any file with the right name, so a pipe blocks them forever. They wrap
system errors in errors of many types. `check` accepts only regular files of bounded size.
`read_problem` tells files that cannot be read apart from files with wrong contents.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from crnn_jax.errors import DamageError
from crnn_jax.runtime import limits

MOST_FILES = 10_000
MOST_BYTES = 2**33
MOST_METADATA = 2**26  # bytes of one file outside the folders `d`, which hold the arrays

# Errors about contents or names. All others are about reading.
_OF_CONTENTS = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EEXIST),
    *(errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.ENXIO),
}
_OF_READING = (
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOLCK, errno.EBUSY, errno.ENODEV),
    *(errno.EHOSTDOWN, errno.ENOTCONN),
)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def check(folder: Path) -> None:
    """Checks that a directory contains only regular files of bounded size and directories.

    Raises:
      DamageError: it contains something else; the message names it relative to the directory.
      OSError: a directory cannot be read.
    """
    count = size = 0
    for path, status in _walk(folder):
        name, count = os.path.relpath(path, folder), count + 1
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise DamageError(f"{name} is {_KINDS.get(kind, 'a special file')}, not a regular file")
        if kind == stat.S_IFREG:
            size += status.st_size
            if status.st_size > MOST_METADATA and path.parent.name != "d":
                raise DamageError(f"{name} has {status.st_size} bytes, more than {MOST_METADATA}")
        if count > MOST_FILES:
            raise DamageError(f"it has more than {MOST_FILES} files")
        if size > MOST_BYTES:
            raise DamageError(f"its files have more than {MOST_BYTES} bytes")


def read_problem(folder: Path, error: BaseException) -> str | None:
    """Returns why a checkpoint could not be read, or None if the reason is in its contents.

    `error` is what reading raised. If it gives no reason, all files are read. Call `check` first.
    """
    for cause in _chain(error):
        if isinstance(cause, MemoryError):
            return "out of memory"
        if limits.is_of_threads(cause):
            return limits.NO_THREADS
        if isinstance(cause, OSError) and cause.errno not in (None, *_OF_CONTENTS):
            return _message(cause, folder)
        message = str(cause)
        if found := [os.strerror(n) for n in _OF_READING if os.strerror(n) in message]:
            return max(found, key=len)  # one message is a prefix of another
    try:
        for path, status in _walk(folder):
            if stat.S_ISREG(status.st_mode):
                _read(path)
    except OSError as cause:
        if cause.errno not in _OF_CONTENTS:
            return _message(cause, folder)
    return None


def listing(folder: Path) -> list[tuple[str, int]]:
    """Returns names and modification times of everything below a directory.

    Two listings are equal if nothing was written or deleted in between.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                path = os.path.join(parent, name)
                found.append((path, os.lstat(path).st_mtime_ns))
    return sorted(found)


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yields everything below a directory, in the order of names. Does not follow links."""
    folders = [folder]
    while folders:
        current = folders.pop()
        for name in sorted(os.listdir(current)):
            path = current / name
            status = path.lstat()
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)


def _read(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        while os.read(descriptor, 2**20):
            pass
    finally:
        os.close(descriptor)


def _message(error: OSError, folder: Path) -> str:
    what = error.strerror or str(error)
    if error.filename is None:
        return what
    name = os.path.relpath(os.fsdecode(error.filename), folder)
    return what if name.startswith("..") else f"{name}: {what}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
