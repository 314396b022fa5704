"""Convolution, ReLU and pooling by windows, compared with the definition in float64 loops."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import conv_pool


def _definition(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> tuple[Any, Any]:
    """Returns the output, and the pixel of the full-size array that each value comes from."""
    batch, width, height, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    full = np.zeros((batch, width, height, kernel.shape[-1]))
    for i, j in np.ndindex(3, 3):
        full += padded[:, i : i + width, j : j + height] @ kernel[i, j]
    out = np.zeros((batch, width // 2, height // 2, kernel.shape[-1]))
    source = np.zeros(out.shape, int)
    for n, a, h, d in np.ndindex(out.shape):
        window = full[n, 2 * a : 2 * a + 2, 2 * h : 2 * h + 2, d].ravel()
        source[n, a, h, d] = window.argmax()
        out[n, a, h, d] = max(window.max() + bias[d], 0)
    return out, source


def _gradients(
    x: np.ndarray, kernel: np.ndarray, out: Any, source: Any, g: Any
) -> tuple[Any, Any, Any]:
    """Gradients of sum(g * out): each value passes its own to the pixels under its kernel."""
    dx, dkernel = np.zeros(np.add(x.shape, (0, 2, 2, 0))), np.zeros(kernel.shape)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    g = np.where(out > 0, g, 0)
    for n, a, h, d in np.ndindex(out.shape):
        p, q = divmod(source[n, a, h, d], 2)
        place = n, slice(2 * a + p, 2 * a + p + 3), slice(2 * h + q, 2 * h + q + 3)
        dx[place] += g[n, a, h, d] * kernel[..., d]
        dkernel[..., d] += g[n, a, h, d] * padded[place]
    return dx[:, 1:-1, 1:-1], dkernel, g.sum((0, 1, 2))


def _compiled(function: Callable[..., Any], g: np.ndarray, *arrays: np.ndarray) -> Any:
    """Returns function(*arrays) and the gradients of sum(g * output), by one new program."""

    def outputs_and_gradients(g: Any, *arrays: Any) -> Any:
        result, pullback = jax.vjp(function, *arrays)
        return result, pullback(g)

    return jax.jit(outputs_and_gradients)(*(a.astype(np.float32) for a in (g, *arrays)))


@pytest.mark.parametrize("piece", [conv_pool._PIECE, 1])  # the batch whole, and image by image
@pytest.mark.parametrize(
    ("width", "height", "channels"),
    # Few and many channels; even and odd sizes, and one that leaves a single window.
    [(6, 4, 1), (5, 7, 3), (6, 5, 8), (7, 4, 9), (3, 2, 8)],
)
def test_outputs_and_gradients_are_the_definition_s(
    monkeypatch: pytest.MonkeyPatch, piece: Any, width: int, height: int, channels: int
) -> None:
    monkeypatch.setattr(conv_pool, "_PIECE", piece)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, width, height, channels))
    kernel, bias = rng.normal(size=(3, 3, channels, 5)), rng.normal(size=5) - 1
    out, source = _definition(x, kernel, bias)
    assert 0 < np.mean(out > 0) < 1
    g = rng.normal(size=out.shape)

    result, gradients = _compiled(conv_pool.conv_relu_pool, g, x, kernel, bias)
    # sums of 9 C products of about 1, in float32
    np.testing.assert_allclose(result, out, atol=1e-5)
    for ours, expected in zip(gradients, _gradients(x, kernel, out, source, g), strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("piece", [conv_pool._PIECE, 1])
@pytest.mark.parametrize(
    ("width", "height", "channels"), [(6, 4, 1), (6, 2, 7), (4, 6, 8), (2, 8, 9), (5, 4, 8)]
)
def test_a_convolution_and_its_gradients_are_the_definition_s(
    monkeypatch: pytest.MonkeyPatch, piece: Any, width: int, height: int, channels: int
) -> None:
    monkeypatch.setattr(conv_pool, "_PIECE", piece)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(3, width, height, channels)), rng.normal(size=(3, 3, channels, 5))
    g = rng.normal(size=(3, width, height, 5))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out, dx, dkernel = np.zeros(g.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(3, 3):
        seen = slice(None), slice(i, i + width), slice(j, j + height)
        out += padded[seen] @ kernel[i, j]
        dx[seen] += g @ kernel[i, j].T
        dkernel[i, j] = np.einsum("nwhc,nwhd->cd", padded[seen], g)
    result, ours = _compiled(conv_pool.conv, g, x, kernel)
    np.testing.assert_allclose(result, out, atol=1e-5)
    np.testing.assert_allclose(ours[0], dx[:, 1:-1, 1:-1], atol=2e-5)
    np.testing.assert_allclose(ours[1], dkernel, atol=2e-5)


def test_of_equal_outputs_the_first_takes_the_gradient() -> None:
    # An even image: inside, all four outputs of a window are equal.
    x, g = np.ones((1, 6, 6, 1)), np.zeros((1, 3, 3, 1))
    g[0, 1, 1] = 1
    _, (gradient, *_) = _compiled(
        conv_pool.conv_relu_pool, g, x, np.ones((3, 3, 1, 1)), np.zeros(1)
    )
    expected = np.zeros((6, 6))
    expected[1:4, 1:4] = 1  # around output (2, 2)
    np.testing.assert_array_equal(np.asarray(gradient)[0, :, :, 0], expected)


def test_the_plain_form_is_the_definition() -> None:
    rng = np.random.default_rng(1)
    x, kernel, bias = (
        rng.normal(size=(2, 5, 6, 2)),
        rng.normal(size=(3, 3, 2, 3)),
        rng.normal(size=3),
    )
    out = jax.jit(conv_pool.plain)(*(a.astype(np.float32) for a in (x, kernel, bias)))
    np.testing.assert_allclose(out, _definition(x, kernel, bias)[0], atol=1e-5)


def test_pooling_takes_the_maximum_of_four_and_drops_an_odd_edge() -> None:
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)  # rows 0-4, 5-9, 10-14
    assert conv_pool.max_pool(x)[0, :, :, 0].tolist() == [[6.0, 8.0]]


def test_a_number_that_is_none_is_not_lost() -> None:
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0].set(jnp.nan)
    out = conv_pool.conv_relu_pool(x, jnp.ones((3, 3, 1, 1)), jnp.zeros(1))
    assert np.isnan(out[0, 0, 0, 0])
