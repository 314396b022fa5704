"""XLA's compiler options for a CPU: faster compilation and inference.

The names are XLA's own, and a value in XLA_FLAGS takes precedence. Without the fusion emitters and
at LLVM's second optimization level, a training step compiles in 0.78 of the time and takes 0.97 of
the time to run. At the second level alone, reading 64 images takes 0.85 of the time. Both were
measured by benchmarks/compiling.py on one core (results/speed/xla_options.txt). Other backends
keep their defaults.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax

from crnn_jax.runtime import backend, program_store

TRAINING = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 2}
READING = {"xla_backend_optimization_level": 2}


def options(wanted: dict[str, Any]) -> dict[str, Any]:
    """Returns the options for `jax.jit(compiler_options=...)`.

    Leaves out options that this XLA does not have and those that XLA_FLAGS sets.
    """
    if not backend.choices().xla_options:
        return {}
    flags = os.environ.get("XLA_FLAGS", "")
    return {k: v for k, v in wanted.items() if k not in flags and _is_known(k, v)}


def jit_reading(
    function: Callable[..., Any], *, static_argnames: Sequence[str] = ()
) -> Callable[..., Any]:
    """Returns `program_store.jit(function)` with the options for inference."""
    return program_store.jit(
        function, static_argnames=static_argnames, options=lambda: options(READING)
    )


@functools.cache
def _is_known(name: str, value: Any) -> bool:
    """Whether this XLA has an option. Releases differ, and an unknown option is an error."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except Exception:  # jaxlib raises its own types, which vary between releases
        return False
    return True
