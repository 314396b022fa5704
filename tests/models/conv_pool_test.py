"""Convolution and pooling by their definition, and the choice of a form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import conv_pool, native_conv
from crnn_jax.runtime import backend, native
from tests.helpers import convolution


def test_the_plain_form_is_the_definition() -> None:
    rng = np.random.default_rng(1)
    x, kernel, bias = (
        rng.normal(size=(2, 5, 6, 2)),
        rng.normal(size=(3, 3, 2, 3)),
        rng.normal(size=3),
    )
    out = jax.jit(conv_pool.plain)(*(a.astype(np.float32) for a in (x, kernel, bias)))
    np.testing.assert_allclose(out, convolution.pooled(x, kernel, bias)[0], atol=1e-5)


def test_a_convolution_of_an_odd_size_is_the_definition_s() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(3, 5, 4, 8)), rng.normal(size=(3, 3, 8, 16))
    g = rng.normal(size=(3, 5, 4, 16))
    out, dx, dkernel = convolution.convolved(x, kernel, g)
    result, gradients = convolution.compiled(conv_pool.conv, g, x, kernel)
    np.testing.assert_allclose(result, out, atol=1e-5)
    np.testing.assert_allclose(gradients[0], dx, atol=2e-5)
    np.testing.assert_allclose(gradients[1], dkernel, atol=2e-5)


def test_pooling_takes_the_maximum_of_four_and_drops_an_odd_edge() -> None:
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)  # rows 0-4, 5-9, 10-14
    assert conv_pool.max_pool(x)[0, :, :, 0].tolist() == [[6.0, 8.0]]


@pytest.mark.parametrize("depth", [1, 32])  # by XLA, and in C++ if there is a compiler
@pytest.mark.parametrize("place", [(0, 0), (3, 2)])
def test_a_number_that_is_none_is_not_lost(depth: int, place: tuple[int, int]) -> None:
    x = jnp.zeros((1, 4, 4, 1)).at[0, place[0], place[1], 0].set(jnp.nan)
    out = conv_pool.conv_relu_pool(x, jnp.ones((3, 3, 1, depth)), jnp.zeros(depth))
    seen = [[True, False], [False, False]] if place == (0, 0) else [[False, False], [True, True]]
    np.testing.assert_array_equal(np.isnan(out[0, :, :, 0]), seen)


@pytest.mark.skipif(native.library() is None, reason="no compiler for C++")
@pytest.mark.parametrize("function", ["conv", "conv_relu_pool"])
def test_functions_in_c_are_used_where_they_can_be(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def is_used(channels: int, depth: int, dtype: str = "float32") -> bool:
        x, kernel = jnp.zeros((1, 4, 4, channels), dtype), jnp.zeros((3, 3, channels, depth), dtype)
        arrays = (x, kernel) if function == "conv" else (x, kernel, jnp.zeros(depth, dtype))
        # A function of its own, because jax keeps what it has traced.
        lowered = jax.jit(lambda *arrays: getattr(conv_pool, function)(*arrays)).lower(*arrays)
        return native.PREFIX in lowered.as_text()

    assert is_used(1, 32)
    assert is_used(3, 32)
    assert is_used(32, 64)
    assert not is_used(2, 32)
    assert not is_used(32, 5)
    assert not is_used(5, 32)
    assert not is_used(32, 64, "bfloat16")
    assert not native_conv.can_compute(jnp.zeros((1, 4, 4, 0)), jnp.zeros((3, 3, 0, 32)))
    monkeypatch.setattr(backend, "CPU", backend.ACCELERATOR)
    assert not is_used(32, 64)


@pytest.mark.parametrize(
    ("x", "kernel", "bias"),
    [
        ((1, 4, 4, 32), (3, 3, 32, 64), (32,)),
        ((1, 4, 4, 64), (3, 3, 32, 64), (64,)),
        ((1, 4, 4, 32), (5, 5, 32, 64), (64,)),
    ],
)
def test_shapes_that_do_not_fit_are_errors(
    x: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    """The functions in C++ would read beyond the end of the arrays."""
    with pytest.raises((TypeError, ValueError)):
        jax.block_until_ready(conv_pool.conv_relu_pool(*map(jnp.zeros, (x, kernel, bias))))


@pytest.mark.parametrize("shape", [(0, 4, 4, 1), (2, 1, 4, 1), (2, 4, 1, 1)])
def test_without_a_window_the_result_is_empty(shape: tuple[int, ...]) -> None:
    out = conv_pool.conv_relu_pool(jnp.zeros(shape), jnp.ones((3, 3, 1, 32)), jnp.zeros(32))
    assert out.shape == (shape[0], shape[1] // 2, shape[2] // 2, 32)
    assert conv_pool.conv(jnp.zeros(shape), jnp.ones((3, 3, 1, 32))).shape == (*shape[:3], 32)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_16_bits_are_convolved_by_definition(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), dtype) for s in ((1, 4, 4, 3), (3, 3, 3, 32)))
    bias = jnp.zeros(32, dtype)
    found = conv_pool.conv_relu_pool(x, kernel, bias)
    np.testing.assert_array_equal(found, conv_pool.plain(x, kernel, bias))
