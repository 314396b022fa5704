"""Convolution and pooling by loops over the definition, in float64, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def pooled(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> tuple[Any, Any]:
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


def pooled_gradients(
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


def convolved(x: np.ndarray, kernel: np.ndarray, g: np.ndarray) -> tuple[Any, Any, Any]:
    """Returns x * kernel, and the gradients of sum(g * (x * kernel)) for x and kernel."""
    width, height = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out, dx, dkernel = np.zeros(g.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(3, 3):
        seen = slice(None), slice(i, i + width), slice(j, j + height)
        out += padded[seen] @ kernel[i, j]
        dx[seen] += g @ kernel[i, j].T
        dkernel[i, j] = np.einsum("nwhc,nwhd->cd", padded[seen], g)
    return out, dx[:, 1:-1, 1:-1], dkernel


def compiled(function: Callable[..., Any], g: np.ndarray, *arrays: np.ndarray) -> Any:
    """Returns function(*arrays) and the gradients of sum(g * output), by one new program."""

    def outputs_and_gradients(g: Any, *arrays: Any) -> Any:
        result, pullback = jax.vjp(function, *arrays)
        return result, pullback(g)

    return jax.jit(outputs_and_gradients)(*(a.astype(np.float32) for a in (g, *arrays)))
