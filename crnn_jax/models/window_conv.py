"""The operations of conv_pool.py by windows, computed by XLA.

A CPU spends its time on multiplications and on moving full-size arrays. So it works by
windows, the 2x2 outputs that are pooled together, in pieces of the batch that fit into the cache.
The gradient goes to the winner of each window, at a tie to the first. Only the index of the winner
is kept of the full-size output.

With many channels a window is a tile of Winograd's F(2x2, 3x3) (Lavin & Gray 2015, section 4.1).
It sees 4x4 pixels d, and 16 products replace the 36 of the definition::

    y = A' M A,   M = V U summed over the channels,   V = B' d B,   U = G w G',

which are 16 matrix products over all tiles. The gradient takes the transposed steps in reverse:
dM = A dy A', dU = V' dM, dV = dM U', dw = G' dU G, dd = B dV B'. Rounding errors are a few times
those of the definition. With few channels the pixels that each output sees are laid out for one
matrix product.

`conv` computes only the convolution, in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

# The paper's matrices, with the signs of the last column of B and the last row of A flipped.
_A = np.array([[1, 0], [1, 1], [1, -1], [0, 1]])
_B = np.array([[1, 0, 0, 0], [0, 1, -1, -1], [-1, 1, 1, 0], [0, 0, 0, 1]])
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)

_FEW = 8  # channels; with fewer the transforms cost more than they save
_PIECE = 1 << 23  # bytes that a piece of the batch may take: a few times a core's cache

Grid = list[list[Array]]  # arrays by row and column of a tile


@jax.custom_vjp
def conv_relu_pool(
    x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"], bias: Float[Array, " D"]
) -> Float[Array, "B W//2 H//2 D"]:
    """`conv_pool.conv_relu_pool`. Forward-mode differentiation is not supported."""
    return _forward(x, kernel, bias)[0]


def _forward(x: Array, kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Returns the output and each window's winner, i32 of the same shape, 4 where relu gives 0."""
    conv = _conv_few if x.shape[-1] < _FEW else _conv_tiles
    shape = (len(x), x.shape[1] // 2, x.shape[2] // 2, kernel.shape[-1])

    def piece(x: Array) -> tuple[Array, Array]:
        y = conv(lax.optimization_barrier(x), kernel)  # four of [n A H, D]
        upper, lower = jnp.maximum(y[0], y[1]), jnp.maximum(y[2], y[3])
        z = jnp.maximum(upper, lower) + bias[None]
        left, right = _is_not_0(upper - y[0]), _is_not_0(lower - y[2]) + 2
        winner = left + _is_not_0(jnp.maximum(upper, lower) - upper) * (right - left)
        winner = 4 + _is_not_0(jax.nn.relu(z)) * (winner - 4)
        kept: tuple[Array, Array] = lax.optimization_barrier((jax.nn.relu(z), winner))
        return kept

    output, winner = lax.map(piece, _cut(x, _num_pieces(x, kernel)))
    return output.reshape(shape), winner


def _forward_and_keep(x: Array, kernel: Array, bias: Array) -> tuple[Array, Any]:
    output, winner = _forward(x, kernel, bias)
    return output, (x, kernel, winner)


def _backward(kept: Any, g: Array) -> tuple[Array, Array, Array]:
    x, kernel, winner = kept
    gradient = _gradient_few if x.shape[-1] < _FEW else _gradient_tiles
    pieces = len(winner)

    def piece(sums: Any, arrays: Any) -> tuple[Any, list[Array]]:
        x, winner, g = lax.optimization_barrier(arrays)
        dy = [g * jnp.maximum(0, 1 - jnp.abs(winner - i)) for i in range(4)]
        dy = lax.optimization_barrier(dy)  # computed once, not again at each use
        rows, dkernel = gradient(x, kernel, dy)
        return (sums[0] + dkernel, sums[1] + sum(dy).sum(0)), rows

    zeros = jnp.zeros_like(kernel), jnp.zeros_like(g[0, 0, 0])
    arrays = _cut(x, pieces), winner, g.reshape(winner.shape)
    (dkernel, dbias), rows = lax.scan(piece, zeros, arrays)
    rows = [row.reshape(-1, *row.shape[2:]) for row in rows]
    return _unseen(rows, 1, x.shape[1]), dkernel, dbias


@jax.custom_vjp
def conv(x: Float[Array, "B W H C"], kernel: Float[Array, "3 3 C D"]) -> Float[Array, "B W H D"]:
    """`conv_pool.conv` for even W and H. Forward-mode differentiation is not supported."""
    by_window = _conv_few if x.shape[-1] < _FEW else _conv_tiles
    width, height, depth = *x.shape[1:3], kernel.shape[-1]

    def piece(x: Array) -> Array:
        y = by_window(lax.optimization_barrier(x), kernel)  # four of [n A H, D]
        y = [a.reshape(len(x), width // 2, height // 2, depth) for a in y]
        rows = [jnp.stack(y[:2], 3), jnp.stack(y[2:], 3)]  # [n, A, H, 2, D]
        whole: Array = jnp.stack(rows, 2).reshape(len(x), width, height, depth)
        return whole

    output: Array = lax.map(piece, _cut(x, _num_pieces(x, kernel)))
    return output.reshape(*x.shape[:3], depth)


def _conv_and_keep(x: Array, kernel: Array) -> tuple[Array, Any]:
    return conv(x, kernel), (x, kernel)


def _conv_backward(kept: Any, g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    gradient = _gradient_few if x.shape[-1] < _FEW else _gradient_tiles
    pieces = _num_pieces(x, kernel)

    def piece(sum_: Array, arrays: Any) -> tuple[Array, list[Array]]:
        x, g = lax.optimization_barrier(arrays)
        dy = [g[:, p::2, q::2].reshape(-1, g.shape[-1]) for p in range(2) for q in range(2)]
        rows, dkernel = gradient(x, kernel, lax.optimization_barrier(dy))
        return sum_ + dkernel, rows

    dkernel, rows = lax.scan(piece, jnp.zeros_like(kernel), (_cut(x, pieces), _cut(g, pieces)))
    rows = [row.reshape(-1, *row.shape[2:]) for row in rows]
    return _unseen(rows, 1, x.shape[1]), dkernel


conv.defvjp(_conv_and_keep, _conv_backward)


def _is_not_0(x: Array) -> Array:
    """Returns i32 0 where x is 0, else 1, without a branch. x must not be negative."""
    return jnp.minimum(lax.bitcast_convert_type(x, jnp.int32), 1)


conv_relu_pool.defvjp(_forward_and_keep, _backward)


# --------------------------------------------------------------------------- many channels


def _conv_tiles(x: Array, kernel: Array) -> list[Array]:
    """Convolves [n, W, H, C] with [3, 3, C, D] to the outputs of each window, four [n A H, D]."""
    u = _transformed(kernel)
    m = [[v @ u[i, j] for j, v in enumerate(row)] for i, row in enumerate(_tiles(x))]
    (y00, y01), (y10, y11) = _both_ways(_A.T, m)
    outputs: list[Array] = lax.optimization_barrier([y00, y01, y10, y11])
    return outputs


def _gradient_tiles(x: Array, kernel: Array, dy: Sequence[Array]) -> tuple[list[Array], Array]:
    """Returns the gradients of x, by rows of the windows, and of the kernel."""
    n, width, height, channels = x.shape
    u, v = _transformed(kernel), _tiles(x)
    dm = lax.optimization_barrier(_both_ways(_A, [list(dy[:2]), list(dy[2:])]))
    du = jnp.stack([jnp.stack([v[i][j].T @ dm[i][j] for j in range(4)]) for i in range(4)])
    dkernel = jnp.einsum("ir,js,ijcd->rscd", _G, _G, du)
    shape = (n, width // 2, height // 2, channels)
    dv = [[(dm[i][j] @ u[i, j].T).reshape(shape) for j in range(4)] for i in range(4)]
    dd = _both_ways(_B, lax.optimization_barrier(dv))
    return [_unseen(row, 2, height) for row in dd], dkernel


def _tiles(x: Array) -> Grid:
    """Transforms [n, W, H, C] to V, 4x4 arrays [n A H, C]."""
    v = _both_ways(_B.T, _seen(x))
    tiles: Grid = lax.optimization_barrier([[a.reshape(-1, x.shape[-1]) for a in row] for row in v])
    return tiles


def _transformed(kernel: Array) -> Array:
    """Transforms [3, 3, C, D] to U [4, 4, C, D]."""
    return jnp.einsum("ir,js,rscd->ijcd", _G, _G, kernel)


def _both_ways(matrix: np.ndarray, grid: Grid) -> Grid:
    """Computes matrix grid matrix' by additions only: the matrix has entries -1, 0 and 1."""

    def add(row: np.ndarray, arrays: Sequence[Array]) -> Array:
        plus = [a for sign, a in zip(row, arrays, strict=True) if sign == 1]
        minus = [a for sign, a in zip(row, arrays, strict=True) if sign == -1]
        return functools.reduce(jnp.subtract, minus, functools.reduce(jnp.add, plus))

    columns = [[add(row, column) for row in matrix] for column in zip(*grid, strict=True)]
    return [[add(row, line) for row in matrix] for line in zip(*columns, strict=True)]


# ---------------------------------------------------------------------------- few channels


def _conv_few(x: Array, kernel: Array) -> list[Array]:
    """Like `_conv_tiles`."""
    y = _laid_out(x).T @ kernel.reshape(-1, kernel.shape[-1])
    outputs: list[Array] = lax.optimization_barrier(list(jnp.split(y, 4)))
    return outputs


def _gradient_few(x: Array, kernel: Array, dy: Sequence[Array]) -> tuple[list[Array], Array]:
    """Like `_gradient_tiles`."""
    n, width, height, channels = x.shape
    dkernel = (_laid_out(x) @ jnp.concatenate(dy)).reshape(kernel.shape)
    # Each of the 4x4 pixels that a window sees contributes to the outputs next to it.
    dd: Grid = [[jnp.zeros((n, width // 2, height // 2, channels))] * 4 for _ in range(4)]
    for p, q, i, j in np.ndindex(2, 2, 3, 3):
        share = dy[2 * p + q] @ kernel[i, j].T
        dd[p + i][q + j] += share.reshape(dd[0][0].shape)
    return [_unseen(row, 2, height) for row in dd], dkernel


def _laid_out(x: Array) -> Array:
    """Lays out the pixels that each output of each window sees, [9 C, 4 n A H]."""
    seen, channels = _seen(x), x.shape[-1]
    pixels = [seen[p + i][q + j] for i, j, p, q in np.ndindex(3, 3, 2, 2)]
    stacked = jnp.stack(pixels).reshape(9, -1, channels)  # [9, 4 n A H, C]
    return stacked.swapaxes(1, 2).reshape(9 * channels, -1)


# ------------------------------------------------------------------------- pixels and pieces


def _seen(x: Array) -> Grid:
    """Returns the pixels that each window sees, with zeros around x: 4x4 arrays [n, A, H, C]."""
    a, h = x.shape[1] // 2, x.shape[2] // 2
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = [x[:, r : r + 2 * a - 1 : 2] for r in range(4)]
    return [[c[:, :, s : s + 2 * h - 1 : 2] for s in range(4)] for c in columns]


def _unseen(d: Sequence[Array], axis: int, size: int) -> Array:
    """The transpose of `_seen` along one axis: sums over the windows that see each pixel.

    Pixel 2a is the second that window a sees and the fourth of window a - 1. Pixel 2a + 1 is the
    third of window a and the first of window a + 1.
    """

    def pad(x: Array, before: int, after: int) -> Array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (before, after)
        return jnp.pad(x, widths)

    even = pad(d[1], 0, 1) + pad(d[3], 1, 0)
    odd = pad(d[2], 0, 1) + pad(lax.slice_in_dim(d[0], 1, None, axis=axis), 0, 2)
    both = jnp.stack([even, odd], axis + 1)
    shape = (*both.shape[:axis], -1, *both.shape[axis + 2 :])
    return lax.slice_in_dim(both.reshape(shape), 0, size, axis=axis)


def _num_pieces(x: Array, kernel: Array) -> int:
    """Returns the least number of equal pieces of the batch that are small enough."""
    batch, width, height, channels = x.shape
    bytes_each = 4 * 16 * (width // 2) * (height // 2) * (channels + kernel.shape[-1])
    fewest = min(batch, -(-batch * bytes_each // _PIECE))
    return next(n for n in range(max(fewest, 1), batch + 1) if batch % n == 0)


def _cut(x: Array, count: int) -> Array:
    """Reshapes [B, ...] to [count, B / count, ...]."""
    return x.reshape(count, -1, *x.shape[1:])
