"""Waits, before the first call of a program with collectives, until all processes have compiled it.

Gloo, which does the collectives of CPUs, waits 30 seconds for another process. Compiling can take
longer than that on one of them, for example if another one has the program in its cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from crnn_jax.runtime import hosts


def compiled_by_all(call: jax.stages.Wrapped) -> Callable[..., Any]:
    """Returns a jitted function that all processes of the run compile before one of them runs it.

    With a single process, it is `call` itself. All processes must make the same calls.
    """
    if hosts.count() == 1:
        return call
    programs: dict[Any, Callable[..., Any]] = {}

    @functools.wraps(call)
    def run(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        kinds = [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves]
        key = tree, *kinds
        if key not in programs:
            programs[key] = call.lower(*arguments).compile()
            hosts.barrier()
        return programs[key](*arguments)

    return run
