import jax.numpy as jnp
import numpy as np

from crnn_jax import lstm


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _one_direction(x, kernel, recurrent_kernel, bias):
    """The equations of the module's docstring, a step and an example at a time, in float64."""
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


def test_both_directions_equal_the_equations():
    rng = np.random.default_rng(0)
    x_f, x_b = rng.normal(size=(2, 3, 6, 4))  # [B, T, D] each
    forward, backward = ([rng.normal(size=s) for s in ((4, 20), (5, 20), (20,))] for _ in range(2))
    expected = np.concatenate(
        [_one_direction(x_f, *forward), _one_direction(x_b[:, ::-1], *backward)[:, ::-1]], axis=-1
    )

    def f32(values):
        return lstm.Weights(*(jnp.asarray(v, jnp.float32) for v in values))

    out = lstm.bilstm(
        jnp.asarray(x_f, jnp.float32), jnp.asarray(x_b, jnp.float32), f32(forward), f32(backward)
    )
    assert out.shape == (3, 6, 10)
    # outputs are within (-1, 1); float32 against float64 over six steps
    np.testing.assert_allclose(out, expected, atol=5e-6)
