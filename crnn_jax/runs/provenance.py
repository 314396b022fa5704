"""The environment of a run (commit, versions, machine), and which changes can affect results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crnn_jax import __version__
from crnn_jax import config as config_lib
from crnn_jax.errors import one_line, quote
from crnn_jax.runtime import native

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
# Settings of JAX that change numbers, with the defaults.
_JAX_SETTINGS: Mapping[str, Any] = {
    "default_matmul_precision": None,
    "default_prng_impl": "threefry2x32",
    "random_seed_offset": 0,
    "threefry_partitionable": True,
}
# Fields that can change results; the commit can too, but seldom does.
_DECISIVE = (
    *("version", "processor", "cores", "devices", "native", "processes", "xla_flags"),
    *(f"packages.{name}" for name in _PACKAGES if name != "orbax-checkpoint"),
    *(f"jax_settings.{name}" for name in _JAX_SETTINGS),
)
# The values that older runs are taken to have had.
_DEFAULTS = {"jax_settings": _JAX_SETTINGS, "native": False}
_NOT_COMPARED = ("command", "data", "earlier")


def here(devices: Iterable[str], processes: int = 1) -> dict[str, Any]:
    """Returns the environment of this process: commit, versions, machine and settings of JAX.

    Args:
      devices: the devices that the run uses.
      processes: the number of processes of the run, on one or several hosts.
    """
    import jax  # comparing two environments, as reports do, needs no jax

    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": sys.argv,
        "version": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "devices": list(devices),
        "native": jax.default_backend() == "cpu" and native.library() is not None,
        **({"processes": processes} if processes > 1 else {}),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_settings": {name: getattr(jax.config, f"jax_{name}") for name in _JAX_SETTINGS},
    }


def _git(*arguments: str) -> str | None:
    """Returns the output of a git command, or None if the package is not in its own checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Returns the differences between two environments: a sentence for each dotted key."""
    old, new = (
        config_lib.flatten(_DEFAULTS | {k: v for k, v in values.items() if k not in _NOT_COMPARED})
        for values in (then, now)
    )
    return {
        key: f"{one_line(key)}: was {quote(old.get(key, 'absent'))}, "
        f"is now {quote(new.get(key, 'absent'))}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    }


def is_decisive(key: str) -> bool:
    """Whether a difference in this field can change results, even if only by rounding."""
    return key in _DECISIVE
