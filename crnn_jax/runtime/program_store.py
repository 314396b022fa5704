"""Compiled programs on disk that a process finds without tracing them.

jax's own cache is keyed by the lowered program, so each process traces and lowers a function before
it finds the program of an earlier one. For a network, that takes longer than loading the program.
Here, the digest of the lowered program is stored under a key of all that determines it: the name of
the function, its static arguments, the shapes and types of the others, and the source files. If a
source file has changed, the function is lowered again, and compiled only if that gives another
program.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax.runtime import program_files
from crnn_jax.runtime.compilation_cache import PROGRAMS

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the repr of an object: no process finds it again


class _Program(NamedTuple):
    """A function whose compiled programs are stored; see `jit`."""

    function: Callable[..., Any]
    name: str
    options: Callable[[], dict[str, Any]]
    donated: Sequence[int]


class _Call(NamedTuple):
    """The first call of a program."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    static: dict[str, Any]  # the static arguments
    tree: Any  # the structure of the other arguments
    devices: Sequence[jax.Device]


def jit(
    function: Callable[..., Any],
    name: str = "",
    *,
    static_argnames: Sequence[str] = (),
    donated: Sequence[int] = (),
    options: Callable[[], dict[str, Any]] = dict,
    wrapped: Callable[[Any], Callable[..., Any]] = lambda call: call,
) -> Callable[..., Any]:
    """Like `jax.jit`, but a program is called without tracing if an earlier process has stored it.

    Without a store, and while jax traces the call as a part of another function, it calls
    `wrapped(jax.jit(function))`.

    Args:
      function: a function of a module or, with a name, any function.
      name: determines the function, with all values that it encloses. By default the name of a
        function of a module.
      static_argnames: the names of the static arguments, which are passed by keyword. Their `repr`
        determines them.
      donated: the positional arguments whose memory the results may take.
      options: returns the compiler options, which depend on the environment only. It is called when
        a function is compiled, because querying the backend initializes it.
      wrapped: wraps the function where no programs are stored.
    """
    name = name or f"{function.__module__}.{function.__qualname__}"
    program = _Program(function, name, options, donated)
    latest: dict[Any, Callable[..., Any]] = {}
    known: dict[Any, Callable[..., Any]] = {}

    @functools.cache
    def jitted() -> Any:
        return wrapped(
            jax.jit(
                function,
                static_argnames=static_argnames,
                donate_argnums=donated,
                compiler_options=options(),
            )
        )

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _is_on():
            return jitted()(*args, **kwargs)
        static = {name: kwargs.pop(name) for name in static_argnames if name in kwargs}
        # The last program for such arguments refuses others than its own, before it runs; but not
        # arrays whose type is weak.
        shapes = tuple([getattr(value, "shape", None) for value in args])
        leaves, tree = jax.tree.flatten((args, kwargs))
        weak = tuple([getattr(leaf, "weak_type", None) for leaf in leaves])
        quick = shapes, weak, tree, tuple(static.items())
        if quick in latest:
            with contextlib.suppress(TypeError, ValueError):
                return latest[quick](*args, **kwargs)
        devices = _devices(leaves)
        key = tree, tuple(map(_kind, leaves)), tuple(static.items()), tuple(devices)
        text = f"{name}\n{key!r}"
        if not devices or _ADDRESS.search(text):
            return jitted()(*args, **kwargs, **static)
        if key in known:
            latest[quick] = known[key]
            return known[key](*args, **kwargs)
        first = _Call(args, kwargs, static, tree, devices)
        known[key], results = _first(program, text, first)
        latest[quick] = known[key]
        return results

    call.lower = lambda *args, **kwargs: jitted().lower(*args, **kwargs)  # type: ignore[attr-defined]
    return call


def _is_on() -> bool:
    """Whether programs are stored: by commands, for the CPU, if the run has one process."""
    is_wanted = bool(os.environ.get(PROGRAMS)) and program_files.is_command()
    is_wanted = is_wanted and jax.default_backend() == "cpu" and jax.process_count() == 1
    return is_wanted and program_files.is_usable()


def _kind(leaf: Any) -> tuple[Any, ...]:
    """Returns what the program depends on in an array or a number."""
    dtype = getattr(leaf, "dtype", type(leaf))
    names = "weak_type", "sharding"
    return getattr(leaf, "shape", ()), dtype, *(getattr(leaf, name, None) for name in names)


def _devices(leaves: Iterable[Any]) -> list[jax.Device]:
    """Returns the devices of the arrays, the first one by default; none during tracing."""
    found: set[jax.Device] = set()
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            return []
        if isinstance(leaf, jax.Array):
            found |= leaf.sharding.device_set
    return sorted(found, key=lambda device: device.id) or jax.local_devices()[:1]


def _first(program: _Program, key: str, call: _Call) -> tuple[Callable[..., Any], Any]:
    """Loads the program for a key, or compiles and stores it. Also returns its results."""
    failed: set[str] = set()
    digest = program_files.find(key)
    if digest and (done := _try_stored(program, digest, call, failed)):
        return done

    def function(*args: Any, **kwargs: Any) -> Any:
        return program.function(*args, **kwargs, **call.static)

    options = program.options()
    # Not the name of the function itself, for which jax's cache may have a program: see below.
    function.__name__ = f"{program.function.__name__}_stored"
    jitted = jax.jit(function, compiler_options=options, donate_argnums=program.donated)
    lowered = jitted.lower(*call.args, **call.kwargs)
    parts = lowered.as_text(), lowered.out_tree, sorted(options.items()), call.devices
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
    if digest not in failed and (done := _try_stored(program, digest, call, failed)):
        program_files.remember(key, digest)
        return done
    with _cache_hits() as hits:
        compiled = lowered.compile()
    # A program that comes from jax's cache cannot be stored: serialized again, it lacks a part of
    # its machine code (jax 0.10.2). So a program leaves that cache when it is stored.
    is_whole = not hits and digest not in failed and not program_files.is_refused(digest)
    if is_whole and program_files.store(digest, compiled):
        program_files.remember(key, digest)
        program_files.leave_cache(function.__name__)
    results = compiled(*call.args, **call.kwargs)
    if failed:
        jax.block_until_ready(results)  # raises if it was not the fault of the stored program
        for digest in failed:
            program_files.refuse(digest)
    return compiled, results


def _try_stored(
    program: _Program, digest: str, call: _Call, failed: set[str]
) -> tuple[Callable[..., Any], Any] | None:
    """Returns a stored program and its results; None if there is none or it fails.

    A program that fails is added to `failed`.
    """
    loaded = program_files.load(digest, call.tree, call.devices)
    if loaded is None:
        return None
    # Copies, because a program that fails may already have taken the memory of the arguments.
    args = [
        jax.tree.map(jnp.copy, value) if place in program.donated else value
        for place, value in enumerate(call.args)
    ]
    try:
        results = jax.block_until_ready(loaded(*args, **call.kwargs))
    except Exception:  # jaxlib raises its own types, which vary between releases
        failed.add(digest)
        return None
    for place in program.donated:
        for leaf in jax.tree.leaves(call.args[place]):
            if isinstance(leaf, jax.Array):
                leaf.delete()  # as if it had been donated
    return loaded, results


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
