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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from crnn_jax.runtime import compilation_cache, processor

ENABLED = "CRNN_JAX_NATIVE"  # a variable
_SOURCES = Path(__file__).parents[1] / "models" / "native"
# XLA on a CPU also fuses a product and a sum into one rounding.
_OPTIONS = ["-std=c++17", "-O2", "-march=native", "-fno-trapping-math", "-fPIC", "-shared"]
_FUNCTIONS = ("pooled", "pooled_and_winner", "pooled_gradient", "whole", "whole_gradient")
PREFIX = "crnn_jax_"  # of the names of functions
_SECONDS = 120  # after which a compiler is given up
_FAILED = 24 * 3600.0  # seconds until a compiler that failed is tried again


class Library(NamedTuple):
    """A library whose functions jax knows: see `crnn_jax/models/native/handlers.cc`."""

    digest: str
    columns: int  # the channels of a convolution must be a multiple of it

    def target(self, function: str) -> str:
        """Returns the name by which jax calls a function."""
        return f"{PREFIX}{function}_{self.digest}"


def library() -> Library | None:
    """Returns the library, with its functions known to jax; None if there is none.

    The first call waits until it is compiled.
    """
    with _lock:
        return _library()


@functools.cache
def _library() -> Library | None:
    digest = key()
    if digest is None:
        return None
    start()
    _building[digest].join()
    with contextlib.suppress(OSError, AttributeError):  # it could not be compiled, or is damaged
        if not _is_own(_file(digest)):
            return None
        loaded = ctypes.CDLL(os.fspath(_file(digest)))
        found = Library(digest, int(loaded.crnn_jax_columns()))
        import jax

        for name in _FUNCTIONS:
            function = jax.ffi.pycapsule(getattr(loaded, PREFIX + name))
            jax.ffi.register_ffi_target(found.target(name), function, platform="cpu")
        return found
    return None


_lock = threading.RLock()
_building: dict[str, threading.Thread] = {}


@functools.cache
def key() -> str | None:
    """Returns the digest that identifies the library; None if it is turned off or not available."""
    compiler = _compiler()
    if os.environ.get(ENABLED, "1").lower() in compilation_cache.OFF or compiler is None:
        return None
    with contextlib.suppress(OSError):
        about = os.stat(compiler[0])
        program = compiler, about.st_size, about.st_mtime_ns, _OPTIONS
        parts = [repr(program), repr(processor.describe()), metadata.version("jaxlib")]
        parts += [path.read_text() for path in sorted(_SOURCES.iterdir()) if path.is_file()]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        failure = _failure(digest)
        if not failure.exists() or failure.stat().st_mtime < time.time() - _FAILED:
            return digest
    return None


def start() -> None:
    """Starts to compile the library in the background, unless it exists."""
    digest = key()
    if digest and digest not in _building:
        # Not a daemon: a process that ends soon leaves a library for the next one.
        _building[digest] = threading.Thread(target=_build, args=(digest,))
        _building[digest].start()


def _build(digest: str) -> None:
    """Compiles a library, unless it exists. If that fails, a note is printed, once a day."""
    file, compiler = _file(digest), _compiler()
    if compiler is None or file.exists():
        return
    with contextlib.suppress(OSError):  # a full disk, or a folder that cannot be written
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            part = Path(folder) / file.name
            command = [*compiler, *_OPTIONS, f"-I{_headers()}", os.fspath(_SOURCES / "handlers.cc")]
            problem = _run([*command, "-o", os.fspath(part)])
            if problem is None:
                part.replace(file)  # another process may have compiled it, too
        if problem:
            _failure(digest).write_text(problem)
            print(
                f"note: {compiler[0]} cannot compile the functions in C++ (see "
                f"{_failure(digest)}), so XLA computes convolutions, which takes longer",
                file=sys.stderr,
            )


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
    """Whether a file belongs to this user. Others could write what this process would execute."""
    return not hasattr(os, "getuid") or file.stat().st_uid == os.getuid()


@functools.cache
def _compiler() -> list[str] | None:
    """Returns the command of the compiler: `$CXX`, or the first that is found."""
    words = shlex.split(os.environ.get("CXX", ""))
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
