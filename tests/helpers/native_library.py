"""The library of functions in C++ as several processes would find it."""

from __future__ import annotations

import os
import shlex
import shutil

import jax
import jax.numpy as jnp
import pytest

from crnn_jax.models import conv_pool
from crnn_jax.runtime import native

COMPILER = shutil.which(shlex.split(os.environ.get("CXX", "g++"))[0])
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no compiler for C++")
DAY = 25 * 3600  # seconds, and some more


def forget() -> None:
    """Makes this process find out again what there is."""
    for function in (native._digest, native._library, native._compiler):
        function.cache_clear()
    native._building.clear()
    native._problems.clear()


def lowered() -> str:
    """Returns the program of a convolution."""
    x, kernel = jnp.zeros((1, 4, 4, 32)), jnp.zeros((3, 3, 32, 64))
    return jax.jit(lambda x, kernel: conv_pool.conv(x, kernel)).lower(x, kernel).as_text()
