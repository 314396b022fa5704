"""Atomic writes of directories, which appear complete or not at all.

A killed or failed command leaves at most a directory whose name ends in SUFFIX. Only this package
makes such directories, and the next run of the same command removes or reuses them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from crnn_jax.errors import RunError
from crnn_jax.runtime import files

SUFFIX = ".crnn-jax.partial"
_INNER = f"unfinished{SUFFIX}"  # subfolder of a folder whose files are being replaced


@contextlib.contextmanager
def directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty directory beside `path` that is renamed to `path` at the end of the block.

    If the block raises, the directory is removed.

    Raises:
      RunError: `path` exists and is not an empty directory, another process is writing it, or it
        cannot be written.
    """
    path = Path(path)
    if path.name in ("", ".."):  # such as '.', which has no sibling
        path = Path(os.path.abspath(path))
    _check_free(path)
    partial = path.with_name(path.name + SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if partial.is_symlink() or partial.is_file():
            partial.unlink()
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise files.unwritable(partial, error) from error
    with _claimed(partial, path):
        try:
            _empty(partial)
            yield partial
            _check_free(path)
            with _errors(path):
                if path.is_dir():
                    path.rmdir()
                partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def replace_files(folder: Path, contents: Mapping[str, bytes], last: str) -> None:
    """Writes files into `folder`, replacing those of the same names and no others.

    All files are written to a directory within `folder` first, so that a full disk leaves the old
    files intact. Then `last` is removed, the other files are moved to their places, and `last` is
    moved after them. So `last` exists only if all the others do.

    Args:
      folder: a folder, created if it does not exist.
      contents: the contents of the files, by name relative to the folder.
      last: the name that marks a complete folder.

    Raises:
      RunError: a name leads through a symbolic link, another process is writing the folder, or it
        cannot be written.
    """
    for name in contents:
        place = files.below(folder, *Path(name).parts[:-1]) / Path(name).name
        if place.is_dir() and not place.is_symlink():
            raise RunError(f"{place} is a directory, but must be a file; remove it")
    inner = files.below(folder, _INNER)
    is_new = not folder.exists()
    with _errors(folder):
        inner.mkdir(parents=True, exist_ok=True)
    with _claimed(inner, folder):
        try:
            _empty(inner)
            for name, content in contents.items():
                with _errors(folder):
                    (inner / name).parent.mkdir(parents=True, exist_ok=True)
                files.write(inner / name, content)
        except BaseException:
            _discard(folder, inner, is_new, last)
            raise
        with _errors(folder):
            (folder / last).unlink(missing_ok=True)
            for name in sorted(contents, key=lambda name: name == last):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (inner / name).replace(folder / name)
            shutil.rmtree(inner)


def is_free(folder: Path) -> bool:
    """Whether `replace_files` may write to a folder: it is absent, empty, or left unfinished.

    Raises:
      RunError: the folder is a file, or cannot be read.
    """
    with _errors(folder):
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} exists already and is not a directory; choose another")
        return not folder.exists() or (folder / _INNER).is_dir() or not any(folder.iterdir())


def _discard(folder: Path, inner: Path, is_new: bool, last: str) -> None:
    """Removes what `replace_files` staged, unless some files of the folder are replaced already."""
    if is_new or (folder / last).exists() or not any(p != inner for p in folder.iterdir()):
        shutil.rmtree(inner, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _check_free(path: Path) -> None:
    with _errors(path):
        if path.is_symlink():
            raise RunError(f"{path} is a symbolic link; choose a new directory")
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} exists already and is not a directory; choose another")
        if path.is_dir() and any(path.iterdir()):
            raise RunError(f"{path} exists already; choose another")
        if path.is_dir() and path.samefile(Path.cwd()):
            raise RunError(f"{path} is the current directory; choose a new one")


def _empty(folder: Path) -> None:
    with _errors(folder):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _claimed(partial: Path, path: Path) -> Iterator[None]:
    """Locks a staging directory against other processes, where the system can."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with contextlib.ExitStack() as stack:
        with _errors(partial):
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is writing {path}; wait for it to end") from None
        except OSError:  # a file system without locks
            pass
        yield


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.unwritable(path, error) from error
