"""Dropout masks: their share, and what they depend on."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import network


@functools.partial(jax.jit, static_argnums=(2, 3))
def dropped(keys: jax.Array, x: jax.Array, rate: float, name: str) -> jax.Array:
    return network.Dropout(keys, 1.0)(x, rate, name, x.shape[1:])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    keys = jax.random.split(jax.random.key(1), 100)
    out = np.asarray(dropped(keys, np.ones((100, 100), np.float32), 0.2, "layer"))
    assert set(np.unique(out)) == {0.0, np.float32(1 / np.float32(0.8))}
    # 10,000 draws at 0.2: 2,000 +- 40
    assert abs((out == 0).sum() - 2000) < 5 * 40


def test_a_mask_is_a_function_of_the_example_s_key_and_of_the_name() -> None:
    keys, x = jax.random.split(jax.random.key(1), 8), np.ones((8, 50), np.float32)
    whole = np.asarray(dropped(keys, x, 0.5, "a"))
    part = dropped(keys[3:5], x[3:5], 0.5, "a")
    np.testing.assert_array_equal(part, whole[3:5])
    assert len({row.tobytes() for row in whole}) == 8
    assert not np.array_equal(dropped(keys, x, 0.5, "b"), whole)


def test_lstm_dropout_keeps_one_mask_for_all_steps_and_one_for_each_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def spy(x_forward: Any, x_backward: Any, forward: Any, backward: Any) -> Any:
        seen.extend([np.asarray(x_forward), np.asarray(x_backward)])
        return x_forward[..., :8]  # [B, T, 2U]

    monkeypatch.setattr(network.lstm, "bilstm", spy)
    layer = network.BiLSTM(units=4, rate=0.25)
    x = jnp.ones((8, 5, 100))  # [B, T, D]
    layer.init(jax.random.key(0), x, network.Dropout(jax.random.split(jax.random.key(1), 8), 1.0))
    for out in seen:
        np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
        assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
        # 800 draws at 0.25: 200 +- 12
        assert abs((out[:, 0] == 0).sum() - 200) < 5 * 12.3
    assert not np.array_equal(seen[0], seen[1])
