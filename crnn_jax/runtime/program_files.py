"""The folder of stored programs: see program_store.py.

`<digest of the key>.key` has the digest of a lowered program, and `<digest>.program` the compiled
program. A folder stands for all else that a compiled program depends on: the versions, the
configuration of jax, the processor, and the library of functions in C++ (native.py).

A program is machine code, like those in jax's cache, and a pickle that describes it: the folder
must be one that only the user can write. See `compilation_cache.keep_programs`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
import sys
import time
import zlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

from crnn_jax.errors import RunError
from crnn_jax.runtime import cpu_devices, files, native, processor
from crnn_jax.runtime.compilation_cache import PROGRAMS

_PACKAGE = Path(__file__).parents[1]
_OF_XLA = {"TopK"}  # functions that XLA itself provides
_QR = {"lapack_sgeqrf_ffi", "lapack_sorgqr_ffi"}  # LAPACK's QR decomposition, in 32 bits
_TRACED = ("flax", "optax", "numpy")  # packages that jax traces, or that make constants
_OWN = re.compile(r"[0-9a-f]{32,64}(\.(key|program|refused)(\.partial)?)?")  # names of entries
_UNUSED = 30 * 24 * 3600.0  # seconds after which a file is removed


@functools.cache
def is_command() -> bool:
    """Whether this process runs a command of the package, and no script of a user.

    A script may replace functions of the package in ways that no key shows.
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    if not file:
        return False
    path = Path(os.path.abspath(file))
    own = (_PACKAGE / "__main__.py", _PACKAGE.parent / "run.py")
    return path in own or path.stem.removesuffix("-script") == "crnn-jax"


def find(key: str) -> str | None:
    """Returns the digest of the program for a key, if it is known."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _read(_key_file(key)).decode()
    return None


def remember(key: str, digest: str) -> None:
    """Notes the digest of the program for a key."""
    with contextlib.suppress(OSError, RunError):  # a full disk
        _make_folder()
        files.write(_key_file(key), digest.encode())


def load(digest: str, tree: Any, devices: Sequence[jax.Device]) -> jax.stages.Compiled | None:
    """Returns a program, or None if it is missing, damaged, refused, or not accepted by jax.

    Args:
      digest: of the lowered program.
      tree: the structure of the arguments.
      devices: those of the arguments.
    """
    from jax.experimental import serialize_executable

    with contextlib.suppress(Exception):  # pickle and jaxlib raise many types
        content = zlib.decompress(_read(_program_file(digest)))  # zlib detects damage
        if not is_refused(digest):
            payload, out_tree, calls_qr = pickle.loads(content)
            if calls_qr:
                _set_up_qr()
            program: jax.stages.Compiled = serialize_executable.deserialize_and_load(
                payload, tree, out_tree, execution_devices=devices
            )
            return program
    return None


def store(digest: str, compiled: jax.stages.Compiled) -> bool:
    """Writes a program. Returns False if the disk is full or the program cannot be stored."""
    from jax.experimental import serialize_executable

    with contextlib.suppress(Exception):  # also those of jaxlib
        # Functions of other libraries are set up only when a program that calls them is lowered.
        # Without that, the call would end the process.
        targets = set(re.findall(r'custom_call_target="([^"]*)"', compiled.as_text() or ""))
        own = {target for target in targets if target.startswith(native.PREFIX)}
        if targets - own <= _OF_XLA | _QR:
            payload, _, out_tree = serialize_executable.serialize(compiled)
            parts = payload, out_tree, not targets.isdisjoint(_QR)
            _make_folder()
            _sweep()
            files.write(_program_file(digest), zlib.compress(pickle.dumps(parts), level=1))
            return True
    return False


@functools.cache
def _set_up_qr() -> None:
    """Sets up LAPACK's QR decomposition in this process."""
    jax.jit(jnp.linalg.qr).lower(jax.ShapeDtypeStruct((2, 2), np.float32))


def refuse(digest: str) -> None:
    """Notes that a stored program failed, so that it is not tried again."""
    with contextlib.suppress(OSError):
        (_folder() / f"{digest}.refused").touch()


def is_refused(digest: str) -> bool:
    """Whether a stored program has failed, or nobody can tell."""
    with contextlib.suppress(OSError):
        return (_folder() / f"{digest}.refused").exists()
    return True


def leave_cache(name: str) -> None:
    """Removes the programs of the function `name` from jax's cache."""
    if folder := jax.config.values.get("jax_compilation_cache_dir"):
        for file in Path(folder).glob(f"jit_{name}-*"):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _program_file(digest: str) -> Path:
    return _folder() / f"{digest}.program"


def _key_file(key: str) -> Path:
    digest = hashlib.sha256(f"{_sources()}\n{key}".encode()).hexdigest()[:32]
    return _folder() / f"{digest}.key"


def _read(path: Path) -> bytes:
    """Returns the content of a file, and marks it as used. OSError: it cannot be read."""
    content = files.read(path)
    with contextlib.suppress(OSError):
        os.utime(path)
    return content


def _make_folder() -> None:
    folder = _folder()
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _sweep() -> None:
    """Removes files and folders of this store that no process has used for a month."""
    folder = _folder()
    for old in (*folder.parent.iterdir(), *folder.iterdir()):
        with contextlib.suppress(OSError):  # another process has removed it
            if _OWN.fullmatch(old.name) and old.stat().st_mtime < time.time() - _UNUSED:
                files.discard(old)


@functools.cache
def is_usable() -> bool:
    """Whether the folder can be made, and only this user can write it."""
    try:
        _make_folder()
        folder = _folder().resolve()
        unsafe = [path for path in (folder.parent, folder) if not files.is_private(path)]
    except OSError:
        return False
    if unsafe:
        print(
            f"note: other users can write {unsafe[0]}, so no compiled programs are read from it; "
            f"run chmod go-w {unsafe[0]} to use it",
            file=sys.stderr,
        )
    return not unsafe


@functools.cache
def _folder() -> Path:
    """Returns the folder for programs of this environment, and marks it as used."""
    folder = Path(os.environ[PROGRAMS]) / _environment()
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


def _environment() -> str:
    """Returns a digest of all that a compiled program depends on besides the lowered one."""
    versions = [sys.version, jax.__version__, jaxlib.version.__version__]
    versions += map(metadata.version, _TRACED)
    # The cache's own keys change where programs are, and not what they are.
    config = sorted((k, repr(v)) for k, v in jax.config.values.items() if "cache" not in k)
    # XLA splits operations for its number of threads, which NPROC sets.
    flags = sorted((k, v) for k, v in os.environ.items() if k.startswith("XLA_") or k == "NPROC")
    cores = cpu_devices.available()
    parts = versions, config, flags, cores, processor.describe(), native.library()
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@functools.cache
def _sources() -> str:
    """Returns a digest of the package, and of the files that could replace its functions.

    These are the modules that are not installed, and the Python files of the command line.
    """
    folders = sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)
    installed = tuple(folder + os.sep for folder in folders)
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    own = {file for file in modules if file and not file.startswith(installed)}
    named = {word.split("=")[-1].split(":")[0] for word in sys.argv}
    own |= {name for name in named if name.endswith(".py")}
    digest = hashlib.sha256()
    for path in sorted({*map(os.fspath, _PACKAGE.rglob("*.py")), *own}):
        with contextlib.suppress(OSError):
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()
