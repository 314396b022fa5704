"""Convolution, ReLU and pooling by windows, compared with the definition in float64 loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crnn_jax.models import window_conv
from tests.helpers import convolution


@pytest.mark.parametrize("piece", [window_conv._PIECE, 1])  # the batch whole, and image by image
@pytest.mark.parametrize(
    ("width", "height", "channels"),
    # Few and many channels; even and odd sizes, and one that leaves a single window.
    [(6, 4, 1), (5, 7, 3), (6, 5, 8), (7, 4, 9), (3, 2, 8)],
)
def test_outputs_and_gradients_are_the_definition_s(
    monkeypatch: pytest.MonkeyPatch, piece: Any, width: int, height: int, channels: int
) -> None:
    monkeypatch.setattr(window_conv, "_PIECE", piece)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, width, height, channels))
    kernel, bias = rng.normal(size=(3, 3, channels, 5)), rng.normal(size=5) - 1
    out, source = convolution.pooled(x, kernel, bias)
    assert 0 < np.mean(out > 0) < 1
    g = rng.normal(size=out.shape)

    result, gradients = convolution.compiled(window_conv.conv_relu_pool, g, x, kernel, bias)
    # sums of 9 C products of about 1, in float32
    np.testing.assert_allclose(result, out, atol=1e-5)
    expected = convolution.pooled_gradients(x, kernel, out, source, g)
    for ours, gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, gradient, atol=2e-5)


@pytest.mark.parametrize("piece", [window_conv._PIECE, 1])
@pytest.mark.parametrize(
    ("width", "height", "channels"), [(6, 4, 1), (6, 2, 7), (4, 6, 8), (2, 8, 9)]
)
def test_a_convolution_and_its_gradients_are_the_definition_s(
    monkeypatch: pytest.MonkeyPatch, piece: Any, width: int, height: int, channels: int
) -> None:
    monkeypatch.setattr(window_conv, "_PIECE", piece)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(3, width, height, channels)), rng.normal(size=(3, 3, channels, 5))
    g = rng.normal(size=(3, width, height, 5))
    out, dx, dkernel = convolution.convolved(x, kernel, g)
    result, ours = convolution.compiled(window_conv.conv, g, x, kernel)
    np.testing.assert_allclose(result, out, atol=1e-5)
    np.testing.assert_allclose(ours[0], dx, atol=2e-5)
    np.testing.assert_allclose(ours[1], dkernel, atol=2e-5)


def test_of_equal_outputs_the_first_takes_the_gradient() -> None:
    # An even image: inside, all four outputs of a window are equal.
    x, g = np.ones((1, 6, 6, 1)), np.zeros((1, 3, 3, 1))
    g[0, 1, 1] = 1
    _, (gradient, *_) = convolution.compiled(
        window_conv.conv_relu_pool, g, x, np.ones((3, 3, 1, 1)), np.zeros(1)
    )
    expected = np.zeros((6, 6))
    expected[1:4, 1:4] = 1  # around output (2, 2)
    np.testing.assert_array_equal(np.asarray(gradient)[0, :, :, 0], expected)
