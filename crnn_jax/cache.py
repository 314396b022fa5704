"""Compiled programs kept on disk: the second process of a kind starts in a fraction of the time."""

from __future__ import annotations

import os


def keep_programs() -> None:
    """Has jax keep what it compiles in `$XDG_CACHE_HOME/crnn_jax`; call before it is imported.

    JAX_COMPILATION_CACHE_DIR names another folder and JAX_ENABLE_COMPILATION_CACHE=0 turns it
    off, as everywhere in jax. A folder that cannot be written costs a warning, not the run.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(home, "crnn_jax")
    # Small programs add up: there are dozens of them, at some 50 ms each.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
