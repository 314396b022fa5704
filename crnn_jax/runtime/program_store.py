"""Compiled programs on disk that a process finds without tracing them.

jax's own cache is keyed by the lowered program, so each process traces and lowers a function before
it finds the program of an earlier one. For a network, that takes longer than loading the program. A
program of this store is keyed by all that determines it: the name of the function, its static
arguments, the shapes and types of the others, the source files of this package, the configuration
of jax, the versions, and the processor.

A program is machine code, like those in jax's cache, and a pickle: the folder must be one that only
the user can write. See `compilation_cache.keep_programs`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib.version

from crnn_jax.runtime import cpu_devices, files

FOLDER = "CRNN_JAX_PROGRAM_STORE"  # the variable with the folder; without it, nothing is stored
_PACKAGE = Path(__file__).parents[1]
_DIGEST = 32  # bytes of the SHA-256 that a file begins with
_OF_XLA = {"TopK"}  # functions that XLA itself provides
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of an object: no process finds it again
_UNUSED = 30 * 24 * 3600.0  # seconds after which programs of another environment are removed


class Program(NamedTuple):
    """A function whose compiled programs are stored."""

    function: Callable[..., Any]
    name: str  # with the static arguments, all that determines the function; see `jit`
    options: Callable[[], dict[str, Any]]  # the compiler options, chosen by the environment
    donated: tuple[int, ...] = ()  # positional arguments whose memory the results may take


def jit(
    program: Program, jitted: Callable[[], Callable[..., Any]], static_argnames: Sequence[str] = ()
) -> Callable[..., Any]:
    """Returns a function that calls a stored program if there is one, and else stores it.

    Without a store, and while jax traces the call as a part of another function, it calls
    `jitted()`.

    Args:
      program: the function. If it is a closure, its name must determine the values in it.
      jitted: returns `jax.jit(function)` with the static arguments.
      static_argnames: the names of the static arguments, which are passed by keyword. Their `repr`
        must determine them.
    """
    latest: dict[Any, Callable[..., Any]] = {}
    known: dict[Any, Callable[..., Any]] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_on():
            return jitted()(*args, **kwargs)
        static = {name: kwargs.pop(name) for name in static_argnames if name in kwargs}
        # The last program for such arguments refuses others than its own, before it runs. This
        # takes a tenth of the time of the whole key.
        shapes = tuple([getattr(value, "shape", None) for value in args])
        quick = shapes, tuple(static.items())
        if quick in latest:
            with contextlib.suppress(TypeError, ValueError):
                return latest[quick](*args, **kwargs)
        leaves, tree = jax.tree.flatten((args, kwargs))
        devices = _devices(leaves)
        if devices is None:
            return jitted()(*args, **kwargs, **static)
        key = tree, tuple(map(_kind, leaves)), tuple(static.items()), tuple(devices)
        if key not in known:
            text = repr(key)
            if _ADDRESS.search(text):
                return jitted()(*args, **kwargs, **static)
            place = _Place(_path(program.name, text), jax.tree.structure((args, kwargs)), devices)
            known[key], results = _first_call(program, place, static, args, kwargs)
            latest[quick] = known[key]
            return results
        latest[quick] = known[key]
        return known[key](*args, **kwargs)

    return call


def of_module(
    function: Callable[..., Any], static_argnames: Sequence[str] = ()
) -> Callable[..., Any]:
    """Returns `jax.jit(function)` for a function of a module, with stored programs.

    Static arguments are passed by keyword, and their `repr` determines them.
    """
    program = Program(function, f"{function.__module__}.{function.__qualname__}", dict)
    jitted = functools.cache(lambda: jax.jit(function, static_argnames=static_argnames))
    return functools.wraps(function)(jit(program, jitted, static_argnames))


def _is_on() -> bool:
    """Whether programs are stored: for the CPU, if the run has one process."""
    is_wanted = bool(os.environ.get(FOLDER))
    return is_wanted and jax.default_backend() == "cpu" and jax.process_count() == 1


def _kind(leaf: Any) -> tuple[Any, ...]:
    """Returns what the program depends on in an array or a number."""
    dtype = getattr(leaf, "dtype", type(leaf))
    names = "weak_type", "sharding"
    return getattr(leaf, "shape", ()), dtype, *(getattr(leaf, name, None) for name in names)


def _devices(leaves: Iterable[Any]) -> list[jax.Device] | None:
    """Returns the devices of the arrays, the first one by default; None during tracing."""
    found: set[jax.Device] = set()
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            return None
        if isinstance(leaf, jax.Array):
            found |= leaf.sharding.device_set
    return sorted(found, key=lambda device: device.id) or jax.local_devices()[:1]


class _Place(NamedTuple):
    """Where a program is stored, and what loading it needs besides the file."""

    path: Path
    tree: Any  # the structure of the arguments
    devices: Sequence[jax.Device]

    @property
    def refused(self) -> Path:
        """A file that exists if a stored program failed: then it is not stored again."""
        return self.path.with_suffix(".refused")

    def load(self) -> jax.stages.Compiled | None:
        """Returns the program, or None if it is missing, damaged, or not accepted by jax."""
        from jax.experimental import serialize_executable

        with contextlib.suppress(Exception):
            content = files.read(self.path)
            digest, body = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(body).digest() == digest and not self.refused.exists():
                payload, out_tree = pickle.loads(zlib.decompress(body))
                program: jax.stages.Compiled = serialize_executable.deserialize_and_load(
                    payload, self.tree, out_tree, execution_devices=self.devices
                )
                return program
        return None

    def store(self, compiled: jax.stages.Compiled) -> None:
        """Writes a program, unless the disk is full or the program needs more than this file."""
        from jax.experimental import serialize_executable

        with contextlib.suppress(Exception):
            # Functions of other libraries, such as LAPACK, are set up only when a program that
            # calls them is lowered. Without that, the call would end the process.
            targets = re.findall(r'custom_call_target="([^"]*)"', compiled.as_text() or "")
            if not _OF_XLA.issuperset(targets):
                return
            payload, _, out_tree = serialize_executable.serialize(compiled)
            body = zlib.compress(pickle.dumps((payload, out_tree)), 1)  # to a fifth of the size
            _make_folder(self.path.parent)
            files.write(self.path, hashlib.sha256(body).digest() + body)
            _leave_cache(self.path.name)


def _first_call(
    program: Program, place: _Place, static: dict[str, Any], args: Sequence[Any], kwargs: Any
) -> tuple[Callable[..., Any], Any]:
    """Loads the program for these arguments, or compiles and stores it. Also returns its results.

    If a loaded program fails, it is compiled.
    """
    if loaded := place.load():
        kept = _copied(args, program.donated)
        try:
            return loaded, jax.block_until_ready(loaded(*args, **kwargs))
        except Exception:  # jaxlib raises its own types, which vary between releases
            args = kept
            with contextlib.suppress(OSError):
                place.refused.touch()

    def function(*args: Any, **kwargs: Any) -> Any:
        return program.function(*args, **kwargs, **static)

    # A program that comes from jax's cache cannot be stored: serialized again, it lacks a part of
    # its machine code (jax 0.10.2). So it has a name of its own, and leaves the cache when it is
    # stored.
    function.__name__ = f"{program.function.__name__}_{place.path.name}"
    jitted = jax.jit(function, compiler_options=program.options(), donate_argnums=program.donated)
    lowered = jitted.lower(*args, **kwargs)
    with _cache_hits() as hits:
        compiled = lowered.compile()
    if not hits and not place.refused.exists():
        place.store(compiled)
    return compiled, compiled(*args, **kwargs)


@contextlib.contextmanager
def _cache_hits() -> Iterator[list[str]]:
    """Yields a list that gets an item if jax finds what this thread compiles in its cache."""
    _compiling.hits = []
    try:
        yield _compiling.hits
    finally:
        del _compiling.hits


_compiling = threading.local()


def _note_hit(event: str, **_: Any) -> None:
    if event == "/jax/compilation_cache/cache_hits" and hasattr(_compiling, "hits"):
        _compiling.hits.append(event)


jax.monitoring.register_event_listener(_note_hit)


def _copied(args: Sequence[Any], donated: Sequence[int]) -> list[Any]:
    """Returns the arguments with copies of those that a call deletes."""
    return [
        jax.tree.map(jnp.copy, value) if place in donated else value
        for place, value in enumerate(args)
    ]


def _make_folder(folder: Path) -> None:
    """Makes a folder for programs, and removes those that have not been used for a month."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for other in folder.parent.iterdir():
            if other.stat().st_mtime < time.time() - _UNUSED:
                shutil.rmtree(other, ignore_errors=True)


def _leave_cache(name: str) -> None:
    """Removes the programs whose name ends like this from jax's cache."""
    if folder := jax.config.values.get("jax_compilation_cache_dir"):
        for file in Path(folder).glob(f"jit_*_{name}-*"):
            file.unlink(missing_ok=True)


def _path(name: str, key: str) -> Path:
    """Returns where the program of a function for a key is stored."""
    digest = hashlib.sha256(f"{_folder().name}\n{name}\n{key}".encode()).hexdigest()
    return _folder() / digest[:32]


@functools.cache
def _folder() -> Path:
    """Returns the folder for programs of this environment, and marks it as used."""
    folder = Path(os.environ[FOLDER]) / _environment()
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


def _environment() -> str:
    """Returns a digest of all that programs depend on apart from the function."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = [sys.version, jax.__version__, jaxlib.version.__version__, _version_of_flax()]
    # The cache's own keys change where programs are, and not what they are.
    config = sorted((k, repr(v)) for k, v in jax.config.values.items() if "cache" not in k)
    flags = sorted((k, v) for k, v in os.environ.items() if k.startswith("XLA_"))
    cores = cpu_devices.available()  # XLA splits operations for this number of threads
    digest.update(repr((versions, config, flags, cores, _processor())).encode())
    return digest.hexdigest()[:32]


def _version_of_flax() -> str:
    from importlib import metadata

    return metadata.version("flax")


def _processor() -> list[str]:
    """Returns the model and the instruction sets of the processor, where the system tells them."""
    found = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        found += re.findall(r"(?m)^(?:model name|flags|Features)\s*:.*$", text)
    return found
