"""The functions in C++, compared with the definition in float64 loops."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import native_conv
from crnn_jax.runtime import native
from tests.helpers import convolution

LIBRARY = native.library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no compiler for C++")
N = LIBRARY.columns if LIBRARY else 16


@pytest.mark.parametrize(
    ("width", "height", "channels", "depth"),
    [
        (6, 4, 1, N),  # gray
        (5, 7, 3, 2 * N),  # color, odd sizes
        (6, 5, N, N),
        (7, 4, 2 * N, 3 * N),
        (3, 2, N, 2 * N),  # a single window
        (20, 13, N, N),  # several blocks of windows, the last of which is smaller
    ],
)
def test_outputs_and_gradients_are_the_definition_s(
    width: int, height: int, channels: int, depth: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, width, height, channels))
    kernel, bias = rng.normal(size=(3, 3, channels, depth)), rng.normal(size=depth) - 1
    out, source = convolution.pooled(x, kernel, bias)
    assert 0 < np.mean(out > 0) < 1
    g = rng.normal(size=out.shape)

    result, gradients = convolution.compiled(native_conv.conv_relu_pool, g, x, kernel, bias)
    # sums of 9 C products of about 1, in float32
    np.testing.assert_allclose(result, out, atol=1e-4)
    expected = convolution.pooled_gradients(x, kernel, out, source, g)
    for ours, gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, gradient, atol=1e-4)
    # Without the gradient, other functions are called.
    alone = jax.jit(native_conv.conv_relu_pool)(*map(jnp.float32, (x, kernel, bias)))
    np.testing.assert_array_equal(alone, result)


@pytest.mark.parametrize(
    ("width", "height", "channels", "depth"),
    [(6, 4, 1, 2 * N), (2, 2, 3, N), (12, 14, N, 2 * N), (2, 8, 3 * N, N)],
)
def test_a_convolution_and_its_gradients_are_the_definition_s(
    width: int, height: int, channels: int, depth: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, width, height, channels))
    kernel, g = rng.normal(size=(3, 3, channels, depth)), rng.normal(size=(3, width, height, depth))
    out, dx, dkernel = convolution.convolved(x, kernel, g)
    result, ours = convolution.compiled(native_conv.conv, g, x, kernel)
    np.testing.assert_allclose(result, out, atol=1e-4)
    np.testing.assert_allclose(ours[0], dx, atol=1e-4)
    np.testing.assert_allclose(ours[1], dkernel, atol=1e-4)


def test_of_equal_outputs_the_first_takes_the_gradient() -> None:
    # An even image: inside, all four outputs of a window are equal.
    x, g = np.ones((1, 6, 6, 1)), np.zeros((1, 3, 3, N))
    g[0, 1, 1, 0] = 1
    _, (gradient, *_) = convolution.compiled(
        native_conv.conv_relu_pool, g, x, np.ones((3, 3, 1, N)), np.zeros(N)
    )
    expected = np.zeros((6, 6))
    expected[1:4, 1:4] = 1  # around output (2, 2)
    np.testing.assert_array_equal(np.asarray(gradient)[0, :, :, 0], expected)


def test_several_models_at_once_are_computed_like_one_after_another() -> None:
    rng = np.random.default_rng(0)
    x, kernel = jnp.float32(rng.normal(size=(3, 2, 6, 4, N))), rng.normal(size=(3, 3, 3, N, N))
    kernel = jnp.float32(kernel)

    def value(x: Any, kernel: Any) -> Any:
        return jnp.sum(jnp.sin(native_conv.conv(x, kernel)))

    together = jax.jit(jax.vmap(jax.grad(value, (0, 1))))(x, kernel)
    for i in range(3):
        alone = jax.grad(value, (0, 1))(x[i], kernel[i])
        np.testing.assert_allclose(together[0][i], alone[0], atol=1e-6)
        np.testing.assert_allclose(together[1][i], alone[1], atol=1e-6)


# Prints a digest of a reading, and of its gradients, twice each.
THREADS = """
import hashlib, jax, numpy as np
from crnn_jax.models import native_conv
rng = np.random.default_rng(0)
for batch in (1, 5):
    x = np.float32(rng.normal(size=(batch, 40, 21, {n})))
    kernel, bias = np.float32(rng.normal(size=(3, 3, {n}, {n}))), np.zeros({n}, np.float32)
    def run(x, kernel, bias):
        result, pullback = jax.vjp(native_conv.conv_relu_pool, x, kernel, bias)
        return result, *pullback(result)
    for _ in range(2):
        found = jax.jit(run)(x, kernel, bias)
        print(*(hashlib.sha256(np.asarray(a)).hexdigest()[:8] for a in found[:2]),
              float(abs(found[2]).sum()))
"""


def test_threads_change_a_gradient_by_the_rounding_of_sums_only() -> None:
    """Output and gradient of x are the same for one and for several threads, and at each call."""
    printed = []
    for threads in ("1", "3"):
        environment = {"NPROC": threads, "JAX_NUM_CPU_DEVICES": "1"}
        code = THREADS.format(n=N)
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        printed.append([line.rsplit(" ", 1) for line in done.stdout.splitlines()])
    one, several = printed
    assert [digests for digests, _ in one] == [digests for digests, _ in several]
    for lines in printed:
        assert lines[0] == lines[1]
        assert lines[2] == lines[3]
    for (_, a), (_, b) in zip(one, several, strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-5)


def test_the_functions_of_the_library_are_those_that_are_registered() -> None:
    text = (native._SOURCES / "handlers.cc").read_text()
    assert re.findall(r"CRNN_JAX_HANDLER\((\w+)\)", text)[1:] == list(native._FUNCTIONS)
