"""Functions in C++ that XLA calls on a CPU: compiled on first use, and kept for later processes.

Where there is no compiler, or `CRNN_JAX_NATIVE=0` is set, the same functions are computed by XLA,
which takes longer. A library is kept in the folder of compiled programs, under a digest of its
source files, the compiler, jaxlib and the processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from crnn_jax.runtime import compilation_cache, files, processor

ENABLED = "CRNN_JAX_NATIVE"  # a variable
_SOURCES = Path(__file__).parents[1] / "models" / "native"
# XLA on a CPU also fuses a product and a sum into one rounding.
_OPTIONS = ["-std=c++17", "-O2", "-march=native", "-fno-fast-math", "-fno-trapping-math"]
_OPTIONS += ["-fPIC", "-shared"]
_FUNCTIONS = ("pooled", "pooled_and_winner", "pooled_gradient", "whole", "whole_gradient")
PREFIX = "crnn_jax_"  # of the names of functions
_SECONDS = 120  # after which the compiler is stopped
_FAILED = 24 * 3600.0  # seconds until a compiler that failed is tried again
_UNUSED = 90 * 24 * 3600.0  # seconds after which a file is removed; it is compiled again if needed


class Library(NamedTuple):
    """A library whose functions jax knows: see `crnn_jax/models/native/handlers.cc`."""

    digest: str
    columns: int  # the channels of a convolution must be a multiple of it

    def target(self, function: str) -> str:
        """Returns the name by which jax calls a function."""
        return f"{PREFIX}{function}_{self.digest}"


def library() -> Library | None:
    """Returns the library, with its functions known to jax; None if there is none.

    The first call waits until it is compiled. If that fails, it prints a note, once a day.
    """
    with _lock:
        return _library()


@functools.cache
def _library() -> Library | None:
    digest = _digest()
    if digest is None:
        return None
    start()
    if digest in _building:
        _building[digest].join()
    file, failure = _file(digest), _failure(digest)
    try:
        return _load(digest) if _is_own(file) else None
    except (OSError, AttributeError) as error:  # it could not be compiled, or is damaged
        with contextlib.suppress(OSError):
            if file.exists():
                failure.write_text(str(error))
                file.unlink()
            if failure.exists():
                print(
                    f"note: the functions in C++ cannot be compiled or loaded (see {failure}), so "
                    "XLA computes convolutions, which takes longer",
                    file=sys.stderr,
                )
        return None


def is_expected() -> bool:
    """Whether the library is turned on and there is a compiler that has not failed."""
    return _digest() is not None


def start() -> None:
    """Starts to compile the library in the background, unless it exists."""
    with _lock:
        digest = _digest()
        if digest and digest not in _building and not _file(digest).exists():
            # Not a daemon: a process that ends soon leaves a library for the next one.
            thread = threading.Thread(target=_build, args=(digest,))
            with contextlib.suppress(RuntimeError):  # the system allows no more threads
                thread.start()
                _building[digest] = thread


_lock = threading.RLock()
_building: dict[str, threading.Thread] = {}


def _load(digest: str) -> Library:
    """Loads a library, and registers its functions. OSError, AttributeError: it is damaged."""
    import jax

    loaded = ctypes.CDLL(os.fspath(_file(digest)))
    found = Library(digest, int(loaded.crnn_jax_columns()))
    for name in _FUNCTIONS:
        function = jax.ffi.pycapsule(getattr(loaded, PREFIX + name))
        jax.ffi.register_ffi_target(found.target(name), function, platform="cpu")
    return found


@functools.cache
def _digest() -> str | None:
    """Returns what identifies the library; None if it is turned off or cannot be compiled."""
    if os.environ.get(ENABLED, "1").lower() in compilation_cache.OFF:
        return None
    compiler = _compiler()
    if compiler is None or "://" in os.environ.get("JAX_COMPILATION_CACHE_DIR", ""):  # as of gs://
        return None
    with contextlib.suppress(OSError, metadata.PackageNotFoundError):
        about = os.stat(compiler[0])
        program = compiler, about.st_size, about.st_mtime_ns, _OPTIONS
        parts = [repr((program, processor.describe(), metadata.version("jaxlib"))).encode()]
        parts += [path.read_bytes() for path in sorted(_SOURCES.iterdir()) if path.is_file()]
        digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        failure = _failure(digest)
        if not failure.exists() or failure.stat().st_mtime < time.time() - _FAILED:
            failure.unlink(missing_ok=True)
            return digest
    return None


def _build(digest: str) -> None:
    """Compiles a library, or notes what the compiler said."""
    file, compiler = _file(digest), _compiler()
    assert compiler is not None
    with contextlib.suppress(OSError):  # a full disk, or a folder that cannot be written
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in file.parent.iterdir():
            if old.stat().st_mtime < time.time() - _UNUSED:
                files.discard(old)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            part = Path(folder) / file.name
            command = [*compiler, *_OPTIONS, f"-I{_headers()}", os.fspath(_SOURCES / "handlers.cc")]
            problem = _run([*command, "-o", os.fspath(part)])
            if problem is None:
                part.chmod(0o700)
                part.replace(file)  # another process may have compiled it, too
            else:
                _failure(digest).write_text(problem)


def _run(command: Sequence[str]) -> str | None:
    """Runs a compiler. Returns what it said if it failed. OSError: it was interrupted."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        return str(error)
    if done.returncode < 0:
        raise OSError("the compiler was interrupted")
    return f"{shlex.join(command)}\n{done.stderr}" if done.returncode else None


def _is_own(file: Path) -> bool:
    """Whether only this user can write a file, which this process would execute.

    OSError: there is no such file.
    """
    about = os.lstat(file)
    is_mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return is_mine and stat.S_ISREG(about.st_mode) and not about.st_mode & 0o022


@functools.cache
def _compiler() -> list[str] | None:
    """Returns the command of the compiler: `$CXX`, or the first that is found."""
    try:
        words = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # an open quotation
        return None
    for name in [words[0]] if words else ["g++", "clang++", "c++"]:
        if found := shutil.which(name):
            return [found, *words[1:]]
    return None


def _headers() -> Path:
    """Returns the folder of XLA's C interface."""
    found = importlib.util.find_spec("jaxlib")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "include"


def _file(digest: str) -> Path:
    return compilation_cache.folder() / "native" / f"{digest}.so"


def _failure(digest: str) -> Path:
    """Returns the file with what the compiler said if it could not compile the library."""
    return _file(digest).with_suffix(".failed")
