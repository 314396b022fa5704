from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import lstm
from crnn_jax.runtime import backend


@pytest.fixture(params=[1, 4])
def unrolled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One or four time steps in an iteration; six steps are one iteration and a rest."""
    chosen = backend.CPU._replace(unroll=request.param)
    monkeypatch.setattr(backend, "choices", lambda: chosen)


def _sigmoid(x: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-x))


def _one_direction(
    x: np.ndarray, kernel: np.ndarray, recurrent_kernel: Any, bias: np.ndarray
) -> Any:
    """The equations in the docstring of the module, one step and example at a time, in float64."""
    units = len(recurrent_kernel)
    out = np.zeros((*x.shape[:2], units))
    for n, row in enumerate(x):
        h = c = np.zeros(units)
        for t, x_t in enumerate(row):
            z = x_t @ kernel + h @ recurrent_kernel + bias
            i, f, g, o = z[:units], z[units : 2 * units], z[2 * units : 3 * units], z[3 * units :]
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            out[n, t] = h
    return out


@pytest.mark.usefixtures("unrolled")
def test_both_directions_equal_the_equations() -> None:
    rng = np.random.default_rng(0)
    x_f, x_b = rng.normal(size=(2, 3, 6, 4))  # [B, T, D] each
    forward, backward = ([rng.normal(size=s) for s in ((4, 20), (5, 20), (20,))] for _ in range(2))
    expected = np.concatenate(
        [_one_direction(x_f, *forward), _one_direction(x_b[:, ::-1], *backward)[:, ::-1]], axis=-1
    )

    def f32(values: Any) -> Any:
        return lstm.Weights(*(jnp.asarray(v, jnp.float32) for v in values))

    out = lstm.bilstm(
        jnp.asarray(x_f, jnp.float32), jnp.asarray(x_b, jnp.float32), f32(forward), f32(backward)
    )
    assert out.shape == (3, 6, 10)
    # outputs are within (-1, 1); float32 against float64 over six steps
    np.testing.assert_allclose(out, expected, atol=5e-6)


@pytest.mark.usefixtures("unrolled")
def test_the_gradient_is_the_slope_of_the_equations() -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(2, 4, 3)) for _ in "fb"]  # [B, T, D] of both directions
    for _ in "fb":
        arrays += [rng.normal(size=s) for s in ((3, 8), (2, 8), (8,))]
    g = rng.normal(size=(2, 4, 4))

    def loss(x_f: Any, x_b: Any, *weights: Any) -> float:
        forward = _one_direction(x_f, *weights[:3])
        backward = _one_direction(x_b[:, ::-1], *weights[3:])[:, ::-1]
        return float(np.sum(g * np.concatenate([forward, backward], axis=-1)))

    def ours(x_f: Any, x_b: Any, *weights: Any) -> jax.Array:
        out = lstm.bilstm(x_f, x_b, lstm.Weights(*weights[:3]), lstm.Weights(*weights[3:]))
        return jnp.sum(out * g)

    f32 = [jnp.asarray(a, jnp.float32) for a in arrays]
    gradients = jax.jit(jax.grad(ours, argnums=range(len(f32))))(*f32)
    for k, gradient in enumerate(gradients):
        slope = np.zeros(arrays[k].shape)
        for place in np.ndindex(slope.shape):
            values = []
            for shift in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[k][place] += shift
                values.append(loss(*moved))
            slope[place] = (values[0] - values[1]) / 2e-5  # central difference, float64
        np.testing.assert_allclose(gradient, slope, atol=2e-5)
