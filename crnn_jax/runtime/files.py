"""Atomic file writes, and reads of bounded size.

Reads accept only regular files, because opening an untrusted pipe or device can block forever.
Writes go to a temporary file that is then renamed, so a full disk or a kill leaves the old file
intact. A symbolic link at the destination is replaced, not followed. Writes below a directory
that this process holds go through the directory's descriptor (held.py). Errors name the path.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from crnn_jax.errors import RunError
from crnn_jax.runtime import held

MOST_BYTES = 2**30  # bytes of a file that is read whole
_REMOVED = ".removed.partial"  # added to the name of a directory that is being deleted
_HINTS = {
    errno.ENOSPC: "; make room, then run the same command again",
    errno.EDQUOT: "; make room, then run the same command again",
    errno.ELOOP: "; it is a symbolic link",
}


def read(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """Returns the bytes of a regular file.

    Raises:
      OSError: the file cannot be read, is not a regular file, or has more than `most` bytes.
    """
    with _regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            what = f"{size} bytes are too many ({most} at most)"
            raise OSError(errno.EFBIG, what, os.fspath(path))
        content = file.read(most + 1) or b""
    if len(content) > most:  # the file grew, or the system did not know its size
        raise OSError(errno.EFBIG, f"more than {most} bytes", os.fspath(path))
    return content


def start(path: str | os.PathLike[str], count: int) -> bytes:
    """Returns the first `count` bytes of a regular file, however large it is.

    Raises:
      OSError: the file cannot be read, or is not a regular file.
    """
    with _regular(path) as file:
        return file.read(count) or b""


@contextlib.contextmanager
def _regular(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """Opens a regular file for reading."""
    # Without O_NONBLOCK, opening a pipe that has no writer would block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with contextlib.ExitStack() as stack:
        stack.callback(_close_quietly, descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a pipe, device or socket, not a file", os.fspath(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file


def _close_quietly(descriptor: int) -> None:
    """Closes a file that was only read. Errors are ignored, because the content is complete."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Writes a temporary file and renames it: a reader sees the old file or the new one.

    Raises:
      RunError: the file cannot be written; the old one is unchanged.
    """
    place = held.anchored(path)
    partial = place.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)  # frees the space for others
        raise unwritable(path, error) from error


def check_room(path: Path, size: int, files: int = 0) -> None:
    """Checks that `size` bytes and `files` new files fit beside `path`, where the system can tell.

    Raises:
      RunError: they do not fit.
    """
    place = held.anchored(path)
    trial = place.with_name(f"{path.name}.partial")
    try:
        with trial.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        if hasattr(os, "statvfs"):
            room = os.statvfs(place.parent)
            if room.f_files > 0 and room.f_favail < files:  # some file systems count no inodes
                raise OSError(errno.ENOSPC, f"No inodes left on device ({room.f_favail} free)")
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes a directory and its parents. RunError if that fails."""
    try:
        held.anchored(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def remove(path: Path) -> None:
    """Removes a file or a directory, if it exists.

    A directory is renamed first, so that under its own name it is either complete or gone. Files
    that cannot be deleted stay under the other name until `remove` is called again.

    Raises:
      RunError: a file cannot be removed, or a directory cannot be renamed.
    """
    place = held.anchored(path)
    removed = place.with_name(place.name + _REMOVED)
    discard(removed)
    try:
        if place.is_dir() and not place.is_symlink():
            place.rename(removed)
            discard(removed)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def is_private(path: Path) -> bool:
    """Whether this user owns a file or directory, and no other user can write it.

    Where files have no owner, as on Windows, only links are refused. OSError: it does not exist.
    """
    about = os.lstat(path)
    if stat.S_ISLNK(about.st_mode):
        return False
    return not hasattr(os, "getuid") or (
        about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def discard(path: Path) -> None:
    """Removes a file or a directory, or as much of it as can be removed. Ignores errors."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def append(path: Path, content: bytes) -> None:
    """Appends all of `content` to a file, or nothing. RunError if that fails."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(content)
            while rest:  # a disk that fills up accepts a part first
                rest = rest[file.write(rest) or 0 :]
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise unwritable(path, error) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.FileIO]:
    """Opens a file unbuffered for reading and appending, and makes it first if it is missing.

    Raises:
      RunError: the file cannot be opened for writing, or is not a regular file.
    """
    place = held.anchored(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # opening a pipe would block
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, flags, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is a pipe, device or socket, not a file")
    except OSError as error:
        raise unwritable(path, error) from error
    file = open(descriptor, "ab+", buffering=0)  # noqa: SIM115
    try:
        yield file
    finally:
        try:
            file.close()
        except OSError as error:
            raise unwritable(path, error) from error


def unwritable(path: str | os.PathLike[str], error: OSError) -> RunError:
    """Returns the error to show for a file that cannot be written."""
    hint = _HINTS.get(error.errno or 0, "")
    return RunError(f"{os.fspath(path)} cannot be written: {error.strerror or error}{hint}")


def inside(folder: str | os.PathLike[str], name: str) -> Path:
    """Returns the path of `name` in a folder. ValueError if the name leads out of the folder."""
    path = Path(name)
    if path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
        raise ValueError("its name leads out of the folder")
    return Path(folder) / path


def below(root: str | os.PathLike[str], *names: str) -> Path:
    """Returns the path `names` below `root`, for writing. No command changes files outside `root`.

    `root` itself may be reached through symbolic links; no component below it may be one.

    Raises:
      RunError: a component below `root` is a symbolic link; the message names it.
    """
    path = Path(root)
    for name in names:
        path /= name
        if path.is_symlink():
            raise RunError(
                f"{path} is a symbolic link, but only files inside {root} are changed; remove the "
                "link or choose another folder"
            )
    return path
