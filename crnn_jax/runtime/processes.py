"""Checks that JAX has a device, trains in 32 bits, and has not started before a fork.

Does not import jax before it is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys

from crnn_jax.errors import DeviceError, brief
from crnn_jax.runtime import limits

_FORKED = (
    "this process was forked from one in which JAX had started, and JAX would wait forever here. "
    "Start it with multiprocessing.get_context('spawn') (in gunicorn, leave out --preload), or "
    "load the reader only in the children and not in their parent"
)
_has_started = False  # JAX computes in this process
_is_forked = False  # JAX had started in a parent of this process


def check() -> None:
    """Starts the JAX backend and checks that this process can use it.

    Raises:
      DeviceError: JAX has no device of the platform that JAX_PLATFORMS names, or this process was
        forked from one in which JAX had started.
    """
    global _has_started
    if _is_forked:
        raise DeviceError(_FORKED)
    if not _has_started and (reason := device_problem()):
        raise DeviceError(reason)
    _has_started = True


def check_precision() -> None:
    """Checks that JAX computes in 32 bits, for which the training step is written.

    Raises:
      DeviceError: JAX computes in 64 bits.
    """
    import jax

    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]  # a dynamic attribute
        raise DeviceError(
            "training needs 32-bit numbers, but JAX_ENABLE_X64 (jax_enable_x64) is on; unset it"
        )


def device_problem() -> str:
    """Returns why JAX has no device, in one line; an empty string if it has one."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # an AssertionError without a message if there is no plugin
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]  # a dynamic attribute
        why = brief(error, 200).split(" (set JAX_PLATFORMS")[0]
        if not platforms:
            return f"JAX finds no device: {why or type(error).__name__}"
        return (
            f"JAX_PLATFORMS={platforms}, but JAX finds no such device here"
            f"{': ' if why else ''}{why}; unset JAX_PLATFORMS, set it to cpu, or install JAX for "
            "that device"
        )
    return ""


def check_children() -> None:
    """Checks that JAX has a device in the processes that this one starts.

    Starts JAX in another process, because it would reserve a GPU's memory in this one. Does nothing
    for a CPU, which every machine has.

    Raises:
      DeviceError: JAX has no device of the platform that JAX_PLATFORMS names.
    """
    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        return
    code = "from crnn_jax.runtime import processes; print(processes.device_problem())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if reason := found.stdout.strip():
        raise DeviceError(reason)


def device_problem_of(error: BaseException) -> str:
    """Returns why JAX has no device if that can be the cause of an error; else an empty string.

    Other packages catch the errors of JAX and raise their own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if limits.is_of_threads(cause):
            return ""  # JAX would abort the process
        if isinstance(cause, (AssertionError, RuntimeError)):
            return device_problem() if "jax" in sys.modules and not _has_started else ""
        cause = cause.__cause__ or cause.__context__
    return ""


def _after_fork() -> None:
    global _is_forked
    # JAX has no public way to ask whether a backend has started without starting it.
    bridge = sys.modules.get("jax._src.xla_bridge")
    _is_forked = _is_forked or _has_started or bool(getattr(bridge, "_backends", None))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
