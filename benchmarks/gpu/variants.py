"""Contexts in which programs are traced with other implementations of parts of the model."""

from __future__ import annotations

import contextlib
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
def recurrence(unroll: int, barriers: bool = True) -> Iterator[None]:
    """The LSTM with `unroll` time steps in an iteration, and without its fusion barriers."""
    chosen = backend.choices()._replace(unroll=unroll)
    shim = types.SimpleNamespace(
        scan=lax.scan,
        optimization_barrier=lax.optimization_barrier if barriers else lambda x: x,
    )
    replaced = mock.patch.object(backend, "choices", return_value=chosen)
    with fresh(), replaced, mock.patch.object(lstm, "lax", shim):
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
