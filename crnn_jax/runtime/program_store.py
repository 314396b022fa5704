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
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import numpy as np

from crnn_jax.runtime import cpu_devices, files

FOLDER = "CRNN_JAX_PROGRAM_STORE"  # the variable with the folder; without it, nothing is stored
_PACKAGE = Path(__file__).parents[1]
_UNUSED = 30 * 24 * 3600.0  # seconds after which programs of another environment are removed


def jit(
    function: Callable[..., Any],
    jitted: Callable[[], Callable[..., Any]],
    options: Callable[[], dict[str, Any]],
    static_argnames: Sequence[str] = (),
) -> Callable[..., Any]:
    """Returns a function that calls a stored program if there is one, and else stores it.

    Without a store, and while jax traces the call as a part of another function, it calls
    `jitted()`.

    Args:
      function: a function of a module, without a closure. The static arguments are passed by
        keyword, and their `repr` determines them.
      jitted: returns `jax.jit(function)`.
      options: returns the compiler options, which depend on nothing but the environment.
      static_argnames: the names of the static arguments.
    """
    programs: dict[Any, Callable[..., Any]] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_on():
            return jitted()(*args, **kwargs)
        static = {name: kwargs.pop(name) for name in static_argnames if name in kwargs}
        leaves, tree = jax.tree.flatten((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return jitted()(*args, **kwargs, **static)
        key = (tree, tuple(map(_kind, leaves)), tuple(static.items()))
        if key not in programs:
            programs[key] = _program(function, options, static, args, kwargs, repr(key))
        return programs[key](*args, **kwargs)

    return call


def _is_on() -> bool:
    """Whether there is a store. A program is stored for a process with a single CPU device."""
    is_wanted = bool(os.environ.get(FOLDER))
    return is_wanted and jax.default_backend() == "cpu" and jax.local_device_count() == 1


def _kind(leaf: Any) -> tuple[Any, ...]:
    """Returns what the program depends on in an array or a number."""
    dtype = getattr(leaf, "dtype", type(leaf))
    return getattr(leaf, "shape", ()), dtype, getattr(leaf, "weak_type", False)


def _program(
    function: Callable[..., Any],
    options: Callable[[], dict[str, Any]],
    static: dict[str, Any],
    args: Any,
    kwargs: Any,
    key: str,
) -> Callable[..., Any]:
    """Loads the program of a function for these arguments, or compiles and stores it."""
    name = f"{function.__module__}.{function.__qualname__}"
    digest = hashlib.sha256(f"{_folder().name}\n{name}\n{key}".encode()).hexdigest()
    path = _folder() / digest
    tree = jax.tree.structure((args, kwargs))
    with contextlib.suppress(Exception):  # missing, damaged, or refused by jax
        return _loaded(files.read(path), tree)

    def program(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs, **static)

    # A program that comes from jax's cache cannot be stored: serialized again, it lacks a part of
    # its machine code (jax 0.10.2). So it has a name of its own, and leaves the cache when it is
    # stored.
    program.__name__ = f"{function.__name__}_{digest[:16]}"
    compiled = jax.jit(program, compiler_options=options()).lower(*args, **kwargs).compile()
    with contextlib.suppress(Exception):  # a full disk, or a jax that cannot serialize programs
        content = _content(compiled)
        if _same(_loaded(content, tree)(*args, **kwargs), compiled(*args, **kwargs)):
            _store(path, content)
            _leave_cache(program.__name__)
    return compiled


def _content(compiled: jax.stages.Compiled) -> bytes:
    """Returns a program as bytes that begin with their digest."""
    from jax.experimental import serialize_executable

    payload, _, out_tree = serialize_executable.serialize(compiled)
    body = pickle.dumps((payload, out_tree))
    return hashlib.sha256(body).digest() + body


def _loaded(content: bytes, in_tree: Any) -> jax.stages.Compiled:
    """Returns the program of such bytes. ValueError: they are damaged."""
    from jax.experimental import serialize_executable

    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("damaged")
    payload, out_tree = pickle.loads(body)
    program: jax.stages.Compiled = serialize_executable.deserialize_and_load(
        payload, in_tree, out_tree, execution_devices=jax.local_devices()[:1]
    )
    return program


def _same(one: Any, other: Any) -> bool:
    """Whether two results are equal."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def _store(path: Path, content: bytes) -> None:
    """Writes a program, and removes those of environments that have not been used for a month."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        for other in path.parent.parent.iterdir():
            if other.stat().st_mtime < time.time() - _UNUSED:
                shutil.rmtree(other, ignore_errors=True)
    files.write(path, content)


def _leave_cache(name: str) -> None:
    """Removes a program of this name from jax's cache."""
    if folder := jax.config.values.get("jax_compilation_cache_dir"):
        for file in Path(folder).glob(f"jit_{name}-*"):
            file.unlink(missing_ok=True)


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
