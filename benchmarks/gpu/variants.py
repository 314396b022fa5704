"""Contexts in which programs are traced with other implementations of parts of the model."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Iterator
from unittest import mock

import cudnn_lstm
import jax
from jax import lax

from crnn_jax.models import lstm
from crnn_jax.runtime import backend
from crnn_jax.training import step


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """Clears the tracing caches before and after, so that no step is shared with the context."""
    step._jitted.cache_clear()
    yield
    step._jitted.cache_clear()


@contextlib.contextmanager
def convolution(windows: bool) -> Iterator[None]:
    """Convolution by windows (conv_pool.py), or the plain definition."""
    chosen = backend.choices()._replace(windows=windows)
    with fresh(), mock.patch.object(backend, "choices", return_value=chosen):
        yield


@contextlib.contextmanager
def recurrence(unroll: int = 1, barriers: bool = True) -> Iterator[None]:
    """The loop of the LSTM with several steps per iteration, and without its fusion barriers."""
    shim = types.SimpleNamespace(
        scan=functools.partial(lax.scan, unroll=unroll),
        optimization_barrier=lax.optimization_barrier if barriers else lambda x: x,
    )
    with fresh(), mock.patch.object(lstm, "lax", shim):
        yield


@contextlib.contextmanager
def by_cudnn() -> Iterator[None]:
    with fresh(), mock.patch.object(lstm, "bilstm", cudnn_lstm.bilstm):
        yield


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Precision of matrix products: jax_default_matmul_precision."""
    with fresh(), jax.default_matmul_precision(name):
        yield
