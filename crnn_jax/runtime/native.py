"""Functions in C++ that XLA calls on a CPU: compiled on first use, and kept for later processes.

Where there is no compiler, or `CRNN_JAX_NATIVE=0` is set, the same functions are computed by XLA,
which takes longer. A library is kept in the folder of compiled programs, under a digest of its
source files, the compiler, jaxlib and the processor, and a digest of its content.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import re
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

from crnn_jax.runtime import compilation_cache, files, processor

ENABLED = "CRNN_JAX_NATIVE"  # a variable
_SOURCES = Path(__file__).parents[1] / "models" / "native"
# XLA on a CPU also fuses a product and a sum into one rounding.
_OPTIONS = ["-std=c++17", "-O2", "-march=native", "-fno-fast-math", "-fno-trapping-math"]
_OPTIONS += ["-fPIC", "-shared"]
_STATIC = ["-static-libstdc++", "-static-libgcc"]
_MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe")  # how a library begins, on Linux and on macOS
_PREFIX = "build-"  # of the folders in which the compiler writes
_OWN = re.compile(rf"{_PREFIX}\w+|[0-9a-f]{{16}}(-[0-9a-f]{{16}})?\.(so|failed)")
_FUNCTIONS = ("pooled", "pooled_and_winner", "pooled_gradient", "whole", "whole_gradient")
PREFIX = "crnn_jax_"  # of the names of functions
_SECONDS = 120  # after which the compiler is stopped
_FAILED = 24 * 3600.0  # seconds until a compiler that failed is tried again
_UNUSED = 90 * 24 * 3600.0  # seconds after which a file is removed; it is compiled again if needed


class Library(NamedTuple):
    """A library whose functions jax knows: see `crnn_jax/models/native/handlers.cc`."""

    digest: str
    columns: int  # the channels of a convolution must be a multiple of it, or 1 or 3 as in an image

    def target(self, function: str) -> str:
        """Returns the name by which jax calls a function."""
        return f"{PREFIX}{function}_{self.digest}"


def library() -> Library | None:
    """Returns the library, with its functions known to jax; None if there is none.

    The first call waits until it is compiled. If there is a compiler, but no library, it prints a
    note; if the compiler fails, once a day.
    """
    with _lock:
        return _library()


@functools.cache
def _library() -> Library | None:
    digest = _digest()
    if digest is None:
        return None
    try:
        return _load(digest, _compiled(digest))
    except (OSError, AttributeError) as error:  # in this process; another one may load it
        print(
            f"note: the functions in C++ cannot be compiled or loaded ({error}), so XLA computes "
            "convolutions, which takes longer",
            file=sys.stderr,
        )
        return None


def _compiled(digest: str) -> Path:
    """Returns the file of the library, once it is compiled. OSError: there is none to be used."""
    for _ in range(2):  # a damaged file is compiled again, once
        start()
        if digest in _building:
            _building[digest].join()
        if (file := _find(digest)) is None:
            failure = _failure(digest)
            reason = _problems.get(digest, "the system allows no more threads")
            raise OSError(f"see {failure}" if failure.exists() else reason)
        for path in _folder(), file:
            if not files.is_private(path):
                raise OSError(f"{path} is a link, or other users can change it")
        if _is_whole(file):
            return file
        files.discard(file)
        _building.pop(digest, None)
    raise OSError(f"{file} is damaged")


def is_expected() -> bool:
    """Whether the library is turned on and there is a compiler that has not failed."""
    return _digest() is not None


def start() -> None:
    """Starts to compile the library in the background, unless it exists."""
    with _lock:
        digest = _digest()
        if digest and digest not in _building and _find(digest) is None:
            # A daemon, so that a command that fails at once does not wait for the compiler.
            thread = threading.Thread(target=_build, args=(digest,), daemon=True)
            with contextlib.suppress(RuntimeError):  # the system allows no more threads
                thread.start()
                _building[digest] = thread


_lock = threading.RLock()
_building: dict[str, threading.Thread] = {}
_problems: dict[str, str] = {}  # why nothing could be compiled, by digest


def _load(digest: str, file: Path) -> Library:
    """Loads a library, and registers its functions. OSError, AttributeError: it cannot be used."""
    import jax

    loaded = ctypes.CDLL(os.fspath(file))
    with contextlib.suppress(OSError):
        os.utime(file)  # it is in use
    found = Library(digest, int(loaded.crnn_jax_columns()))
    for name in _FUNCTIONS:
        function = jax.ffi.pycapsule(getattr(loaded, PREFIX + name))
        jax.ffi.register_ffi_target(found.target(name), function, platform="cpu")
    return found


def _is_whole(file: Path) -> bool:
    """Whether a library is what the compiler wrote, by the digest in its name. OSError: no file."""
    return file.stem.partition("-")[2] == _digest_of(file.read_bytes())


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


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
        program = compiler, about.st_size, about.st_mtime_ns, _OPTIONS, _STATIC
        parts = [repr((program, processor.describe(), metadata.version("jaxlib"))).encode()]
        parts += [path.read_bytes() for path in sorted(_SOURCES.iterdir()) if path.is_file()]
        digest = _digest_of(b"\0".join(parts))
        failure = _failure(digest)
        if not failure.exists() or failure.stat().st_mtime < time.time() - _FAILED:
            files.discard(failure)
            return digest
    return None


def _build(digest: str) -> None:
    """Compiles a library, or notes what the compiler said."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_unused(folder)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as place:
            part = Path(place) / "library.so"
            if problem := _compile(part):
                _failure(digest).write_bytes(problem.encode(errors="replace"))
                return
            part.chmod(0o700)
            with part.open("rb") as file:
                content = file.read()
                os.fsync(file.fileno())  # the new name must not precede the content
            part.replace(folder / f"{digest}-{_digest_of(content)}.so")
    except OSError as error:  # a full disk, or a folder that cannot be written
        _problems[digest] = str(error)


def _remove_unused(folder: Path) -> None:
    for old in folder.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            if _OWN.fullmatch(old.name) and old.stat().st_mtime < time.time() - _UNUSED:
                files.discard(old)


def _compile(file: Path) -> str | None:
    """Compiles a library. Returns what went wrong, or None.

    OSError: the compiler was interrupted.
    """
    compiler = _compiler()
    assert compiler is not None
    command = [*compiler, *_OPTIONS, f"-I{_headers()}", os.fspath(_SOURCES / "handlers.cc")]
    output = ["-o", os.fspath(file)]
    # Without libraries of the compiler, which can be newer than those that the process has loaded.
    problem = _run([*command, *_STATIC, *output])
    if problem and re.search(r"lstdc\+\+|static-lib", problem):
        problem = _run([*command, *output])
    if not problem and (not file.exists() or files.start(file, 4) not in _MAGIC):
        problem = "the compiler wrote no library"
    return f"{shlex.join(command)}\n{problem}" if problem else None


def _run(command: Sequence[str]) -> str | None:
    """Runs a compiler. Returns what it said if it failed. OSError: it was interrupted."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"the compiler was stopped after {_SECONDS} seconds"
    if done.returncode < 0:
        raise OSError("the compiler was interrupted")
    return (done.stderr or f"status {done.returncode}") if done.returncode else None


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


def _folder() -> Path:
    return compilation_cache.folder() / "native"


def _find(digest: str) -> Path | None:
    """Returns the file of a library, whose name has the digest of its content, too."""
    return next(iter(sorted(_folder().glob(f"{digest}-*.so"))), None)


def _failure(digest: str) -> Path:
    """Returns the file with what the compiler said if it could not compile the library."""
    return _folder() / f"{digest}.failed"
