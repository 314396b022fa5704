"""Directories that this process holds: writes go to the directory that was locked, or fail.

While a run trains, its directory may be removed and another run may start under the same name.
Every write below a held directory therefore goes through a descriptor of that directory, after a
check that the path still names the directory. `files` and `checkpoint` call `anchored` before they
write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from crnn_jax.errors import RunError

_Identity = tuple[int, int]  # device and inode


class Anchor:
    """An open directory. `path` leads to it even if the directory is renamed or replaced.

    Where the system has no /proc/self/fd, `path` is the absolute path.

    Raises:
      OSError: the directory cannot be opened.
    """

    def __init__(self, directory: Path):
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
        self._descriptor = os.open(directory, flags)
        self.path = Path(f"/proc/self/fd/{self._descriptor}")
        if not self.path.is_dir():
            self.path = Path(os.path.abspath(directory))

    def close(self) -> None:
        """Closes the directory."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(self._descriptor)
        self._descriptor = -1


class _Held(NamedTuple):
    directory: Path  # as the user wrote it
    anchor: Anchor
    files: dict[str, _Identity | None]  # "" is the directory itself


_held: dict[str, _Held] = {}  # keyed by absolute path


@contextlib.contextmanager
def hold(directory: Path, lock_file: str) -> Iterator[None]:
    """Registers a directory and its lock file. Writes fail once either is removed or replaced."""
    key = os.path.abspath(directory)
    anchor = Anchor(directory)
    files = {name: _identity(anchor.path / name) for name in ("", lock_file)}
    _held[key] = _Held(directory, anchor, files)
    try:
        yield
    finally:
        del _held[key]
        anchor.close()


def check(path: str | os.PathLike[str]) -> None:
    """Checks that the held directory around `path`, if there is one, is still in its place.

    Raises:
      RunError: the directory was removed or replaced.
    """
    anchored(path)


def anchored(path: str | os.PathLike[str]) -> Path:
    """Returns the path to use for a write; below a held directory, it leads through a descriptor.

    Raises:
      RunError: the held directory was removed or replaced.
    """
    absolute = Path(os.path.abspath(path))
    for parent in (absolute, *absolute.parents):
        found = _held.get(os.fspath(parent))
        if found is not None:
            for name, identity in found.files.items():
                if _identity(parent / name) != identity:
                    raise RunError(
                        f"{found.directory} was removed or replaced while this process was using "
                        "it; nothing more is written there. End this process and start it again, "
                        "in another directory if another process uses this one"
                    )
            return found.anchor.path / absolute.relative_to(parent)
    return Path(path)


def _identity(path: Path) -> _Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
