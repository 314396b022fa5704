"""How XLA compiles the model for a CPU: sooner, and to programs that are as fast or faster.

These are options of XLA, by its own names; what XLA_FLAGS says of one of them stands. Without the
fusion emitters and at LLVM's second level a training step compiles in 0.7 of the time and takes as
long; at the second level alone a reading takes 0.94 of the time (benchmarks/compiling.py on a busy
core, its figures in results/speed/compiling.txt). Other backends are left as they are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import jax

from crnn_jax.runtime import backend

TRAINING = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 2}
READING = {"xla_backend_optimization_level": 2}


def options(wanted: dict[str, Any]) -> dict[str, Any]:
    """For `jax.jit(compiler_options=...)`: those that this XLA has and nobody else has set."""
    if not backend.choices().xla_options:
        return {}
    flags = os.environ.get("XLA_FLAGS", "")
    return {k: v for k, v in wanted.items() if k not in flags and _is_known(k, v)}


def jit_reading(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """`jax.jit(function, **arguments)` with the options of a reader.

    Resolved at the first call, because querying the backend initializes it.
    """

    @functools.cache
    def jitted() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=options(READING), **arguments)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return jitted()(*args, **kwargs)

    return call


@functools.cache
def _is_known(name: str, value: Any) -> bool:
    """XLA's options come and go with its releases, and one that it does not know is an error."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except Exception:  # jaxlib's own kinds, and not the same ones in each release
        return False
    return True
