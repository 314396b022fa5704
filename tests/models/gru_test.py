"""The GRU layer against its equations (Cho et al. 2014), one step and example at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.models import network

INPUTS, UNITS = 3, 4


def _sigmoid(x: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-x))


def _one_direction(x: np.ndarray, p: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    """Kernels named i act on the input and h on the state; then reset, update and new value."""

    def dense(name: str, value: np.ndarray) -> np.ndarray:
        return value @ p[name]["kernel"] + p[name].get("bias", 0)

    out = np.zeros((*x.shape[:2], UNITS))
    for row, states in zip(x, out, strict=True):
        h = np.zeros(UNITS)
        for t, x_t in enumerate(row):
            r = _sigmoid(dense("ir", x_t) + dense("hr", h))
            z = _sigmoid(dense("iz", x_t) + dense("hz", h))
            n = np.tanh(dense("in", x_t) + r * dense("hn", h))
            h = states[t] = (1 - z) * n + z * h
    return out


def test_both_directions_equal_the_equations() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, INPUTS))
    into, within, bias = (INPUTS, UNITS), (UNITS, UNITS), (UNITS,)
    # Six kernels in each direction, and a bias for all but those of the state in both gates.
    shapes = {f"i{gate}": {"kernel": into, "bias": bias} for gate in "rzn"}
    shapes |= {"hr": {"kernel": within}, "hz": {"kernel": within}}
    shapes |= {"hn": {"kernel": within, "bias": bias}}
    ways = ("forward", "backward")
    weights = {
        way: {
            name: {part: rng.normal(size=shape) for part, shape in parts.items()}
            for name, parts in shapes.items()
        }
        for way in ways
    }
    layer = network.BiGRU(UNITS)
    inputs = jnp.asarray(x, jnp.float32)
    initial = jax.eval_shape(layer.init, jax.random.key(0), inputs)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, initial) == dict.fromkeys(ways, shapes)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights)
    found = jax.jit(layer.apply)({"params": single}, inputs)
    forward = _one_direction(x, weights["forward"])
    backward = _one_direction(x[:, ::-1], weights["backward"])[:, ::-1]
    expected = np.concatenate([forward, backward], axis=-1)
    # Outputs are within (-1, 1); float32 against float64 over six steps.
    np.testing.assert_allclose(found, expected, atol=5e-6)
