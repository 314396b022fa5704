"""Files, whole or not at all.

What is read is a regular file of bounded size: a pipe or a device from a stranger would hang us.
What is written stands beside its place first and is renamed, so that a full disk or a kill leaves
the old file; a symbolic link in the way is replaced and not followed. Errors name the path.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from crnn_jax.errors import RunError

MOST_BYTES = 2**30  # of a file that is read whole
_HINTS = {
    errno.ENOSPC: "; make room, and the same command goes on",
    errno.EDQUOT: "; make room, and the same command goes on",
    errno.ELOOP: "; it is a symbolic link",
}


def read(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
      OSError: it cannot be read, is no regular file, or has more than `most` bytes.
    """
    # Without waiting: a pipe that nobody writes to would keep us here.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "a pipe, device or socket, not a file", os.fspath(path))
        if status.st_size > most:
            what = f"{status.st_size} bytes are too many ({most} at most)"
            raise OSError(errno.EFBIG, what, os.fspath(path))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1) or b""
    if len(content) > most:  # it grew, or did not say
        raise OSError(errno.EFBIG, f"more than {most} bytes", os.fspath(path))
    return content


def write(path: Path, content: bytes) -> None:
    """Writes beside and renames: a reader sees the old file or the new one. RunError if not."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)  # others want the space
        raise unwritable(path, error) from error


def check_room(path: Path, size: int) -> None:
    """RunError unless so many bytes can be written at a place, or the system cannot tell."""
    trial = path.with_name(f"{path.name}.partial")
    try:
        with trial.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


def append(path: Path, content: bytes) -> None:
    """All of `content` at the end of a file, or nothing of it. RunError if not."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(content)
            while rest:  # a disk that fills up takes a part at first
                rest = rest[file.write(rest) or 0 :]
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise unwritable(path, error) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.FileIO]:
    """A file to be read and added to, unbuffered, made if need be. RunError if that cannot be."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    with open(descriptor, "ab+", buffering=0) as file:
        yield file


def unwritable(path: str | os.PathLike[str], error: OSError) -> RunError:
    """The error for a person of a file that cannot be written."""
    hint = _HINTS.get(error.errno or 0, "")
    return RunError(f"{os.fspath(path)} cannot be written: {error.strerror or error}{hint}")


def inside(folder: str | os.PathLike[str], name: str) -> Path:
    """A file of a folder, by its name relative to it. ValueError for one that leads elsewhere."""
    path = Path(name)
    if path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
        raise ValueError("its name leads out of the folder")
    return Path(folder) / path


def below(root: str | os.PathLike[str], *names: str) -> Path:
    """The path `names` below `root`, for writing: no command changes files outside `root`.

    `root` itself may be reached through symbolic links; nothing below it may be one.

    Raises:
      RunError: a component below `root` is a symbolic link; names it.
    """
    path = Path(root)
    for name in names:
        path /= name
        if path.is_symlink():
            raise RunError(
                f"{path} is a symbolic link, and nothing outside {root} is changed; remove the "
                "link or choose another folder"
            )
    return path
