import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crnn_jax.config import OptimizerConfig
from crnn_jax.training import optimizer

PLAIN = OptimizerConfig(
    name="sgd",
    clip_each=False,
    learning_rate=0.1,
    momentum=0.9,
    nesterov=True,
    clip_norm=5.0,
    warmup_steps=0,
    schedule="constant",
)


def _build(config: OptimizerConfig) -> optax.GradientTransformation:
    return optimizer.build(config, optimizer.pace(config, num_steps=10))


def _schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    return optimizer.schedule(config, optimizer.pace(config, num_steps))


def _updates(config: OptimizerConfig, grads_of_each_step: Any) -> Any:
    """Returns the updates of every step for a tree of two leaves."""
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    tx = _build(config)
    state = tx.init(params)
    result = []
    for a, b in grads_of_each_step:
        update, state = tx.update({"a": jnp.array(a), "b": jnp.array(b)}, state, params)
        result.append(np.concatenate([update["a"], update["b"]]))
    return result


@pytest.mark.parametrize(
    ("changes", "second"),
    [
        # Nesterov: m1 = g1, m2 = g2 + 0.9 m1; the update is -lr (g2 + 0.9 m2). By hand for
        # g1 = (3, 4, 0), g2 = (1, 0, 2): m2 = (3.7, 3.6, 2), g2 + 0.9 m2 = (4.33, 3.24, 3.8).
        ({}, [-0.433, -0.324, -0.38]),
        # Without: -lr m2.
        ({"nesterov": False}, [-0.37, -0.36, -0.2]),
        # Without momentum: -lr g2.
        ({"nesterov": False, "momentum": 0.0}, [-0.1, 0.0, -0.2]),
        # The norm of g1 is 5 and is halved; g2's is sqrt(5) < 2.5 and stays:
        # m2 = (1 + 1.35, 1.8, 2); g2 + 0.9 m2 = (3.115, 1.62, 3.8).
        ({"clip_norm": 2.5}, [-0.3115, -0.162, -0.38]),
        # Off: a gradient of norm 5 keeps it, as above.
        ({"clip_norm": 0.0}, [-0.433, -0.324, -0.38]),
        ({"learning_rate": 0.2}, [-0.866, -0.648, -0.76]),
    ],
)
def test_second_update_by_hand(changes: Any, second: list[float]) -> None:
    config = dataclasses.replace(PLAIN, **changes)
    updates = _updates(config, [([3.0, 4.0], [0.0]), ([1.0, 0.0], [2.0])])
    np.testing.assert_allclose(updates[1], second, rtol=1e-6, atol=1e-8)


def test_trust_ratios_give_each_gradient_the_norm_of_its_variable() -> None:
    config = dataclasses.replace(
        PLAIN, trust_ratio=True, clip_norm=0.0, momentum=0.0, nesterov=False
    )
    # Norms 5 and 0. The gradient (0, 20) is scaled by 5 / 20; a variable of norm 0 keeps its own.
    params = {"a": jnp.array([3.0, -4.0]), "b": jnp.zeros(1)}
    grads = {"a": jnp.array([0.0, 20.0]), "b": jnp.array([7.0])}
    tx = _build(config)
    update, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(update["a"], [0.0, -0.5], rtol=1e-6)
    np.testing.assert_allclose(update["b"], [-0.7], rtol=1e-6)
    # Clipping comes first, so it matters only for variables of norm 0.
    tx = _build(dataclasses.replace(config, clip_norm=1.0))
    update, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(update["a"], [0.0, -0.5], rtol=1e-6)
    np.testing.assert_allclose(update["b"], [-0.7 / np.hypot(20, 7)], rtol=1e-6)
    # The momentum comes after: m2 = 0.9 m1 + g2, each gradient scaled to the norm 5 before.
    tx = _build(dataclasses.replace(config, momentum=0.9))
    variable = {"a": jnp.array([3.0, -4.0])}
    _, state = tx.update({"a": jnp.array([9.0, 0.0])}, tx.init(variable), variable)
    update, _ = tx.update({"a": jnp.array([0.0, 7.0])}, state, variable)
    np.testing.assert_allclose(update["a"], [-0.1 * 0.9 * 5, -0.1 * 5], rtol=1e-6)


def test_trust_ratios_scale_the_update_of_adam() -> None:
    """LAMB: the first update of Adam has entries of size 1, scaled to the norm of the variable."""
    config = dataclasses.replace(PLAIN, name="adam", trust_ratio=True, clip_norm=0.0)
    config = dataclasses.replace(config, momentum=0.8, nesterov=False)
    params = {"a": jnp.array([3.0, -4.0]), "b": jnp.zeros(1)}
    grads = {"a": jnp.array([0.5, 20.0]), "b": jnp.array([7.0])}
    tx = _build(config)
    update, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(update["a"], [-0.1 * 5 / 2**0.5] * 2, rtol=1e-5)
    np.testing.assert_allclose(update["b"], [-0.1], rtol=1e-5)


def test_clipping_off_lets_large_gradients_through() -> None:
    (update,) = _updates(
        dataclasses.replace(PLAIN, clip_norm=0.0, momentum=0.0, nesterov=False),
        [([300.0, 400.0], [0.0])],
    )
    np.testing.assert_allclose(update, [-30, -40, 0], rtol=1e-6)


def test_warm_up_rises_in_equal_steps_and_cosine_ends_at_zero() -> None:
    config = dataclasses.replace(PLAIN, warmup_steps=3, schedule="cosine")
    rate = _schedule(config, 11)
    np.testing.assert_allclose([rate(i) for i in range(4)], [0.025, 0.05, 0.075, 0.1], rtol=1e-6)
    # 8 steps after the warm-up: halfway after 4, zero after 8.
    np.testing.assert_allclose([rate(7), rate(11)], [0.05, 0.0], atol=1e-8)


def test_updates_follow_the_schedule() -> None:
    config = dataclasses.replace(
        PLAIN, momentum=0.0, nesterov=False, warmup_steps=3, schedule="cosine"
    )
    updates = _updates(config, [([1.0, 0.0], [0.0])] * 10)  # 10 steps: 3 of warmup, 7 of decay
    cosine = [0.1 * (1 + np.cos(np.pi * i / 7)) / 2 for i in range(7)]
    rates = [-update[0] for update in updates]
    np.testing.assert_allclose(rates, [0.025, 0.05, 0.075, *cosine], rtol=1e-5)


def test_constant_schedule_stays_at_its_peak() -> None:
    rate = _schedule(dataclasses.replace(PLAIN, warmup_steps=3), 11)
    np.testing.assert_allclose([rate(3), rate(10)], [0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1, 30, 1000])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
def test_the_rates_are_those_of_optax(warmup: int, num_steps: int) -> None:
    config = dataclasses.replace(PLAIN, warmup_steps=warmup, schedule="cosine")
    rise = min(warmup, num_steps // 2)
    expected = optax.join_schedules(
        [
            optax.linear_schedule(0.1 / (rise + 1), 0.1, rise),
            optax.cosine_decay_schedule(0.1, num_steps - rise),
        ],
        [rise],
    )
    steps = jnp.arange(num_steps + 3)
    found = jax.vmap(_schedule(config, num_steps))(steps)
    np.testing.assert_allclose(found, jax.vmap(expected)(steps), rtol=1e-5, atol=1e-9)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_peak() -> None:
    rate = _schedule(dataclasses.replace(PLAIN, warmup_steps=1000), 10)
    assert max(float(rate(i)) for i in range(10)) == pytest.approx(0.1)


def test_each_variable_can_be_clipped_by_itself() -> None:
    config = dataclasses.replace(
        PLAIN, clip_norm=1.0, clip_each=True, momentum=0.0, nesterov=False, learning_rate=1.0
    )
    # The norms are 5, clipped to 1, and 1/2, unchanged.
    (update,) = _updates(config, [([3.0, 4.0], [0.5])])
    np.testing.assert_allclose(update, [-0.6, -0.8, -0.5], rtol=1e-6)


def test_adam_by_hand() -> None:
    """Kingma & Ba 2015 with b1 = 0.8, b2 = 0.999: after gradients 1 and 3,

    m = (0.8 * 0.2 + 0.2 * 3) / (1 - 0.8^2), v = (0.999 * 0.001 + 0.001 * 9) / (1 - 0.999^2).
    """
    config = dataclasses.replace(PLAIN, name="adam", momentum=0.8, nesterov=False, clip_norm=0.0)
    first, second = _updates(config, [([1.0, -4.0], [0.5]), ([3.0, -4.0], [0.5])])
    np.testing.assert_allclose(first, [-0.1, 0.1, -0.1], rtol=1e-5)
    m, v = 0.76 / 0.36, 0.009999 / 0.001999
    np.testing.assert_allclose(second, [-0.1 * m / v**0.5, 0.1, -0.1], rtol=1e-4)


def test_adam_with_nesterov_by_hand() -> None:
    """Dozat 2016 with b1 = 0.8: the numerator is 0.8 m / (1 - 0.8^(t + 1)) + 0.2 g / (1 - 0.8^t).

    After gradients 1 and 3, m is 0.2 and 0.76, and v is as above: 1, then 0.009999 / 0.001999.
    """
    config = dataclasses.replace(PLAIN, name="adam", momentum=0.8, nesterov=True, clip_norm=0.0)
    first, second = _updates(config, [([1.0, -4.0], [0.5]), ([3.0, -4.0], [0.5])])
    m = 0.8 * 0.2 / 0.36 + 1
    np.testing.assert_allclose(first, [-0.1 * m, 0.1 * m, -0.1 * m], rtol=1e-5)
    m, v = 0.8 * 0.76 / 0.488 + 0.2 * 3 / 0.36, 0.009999 / 0.001999
    np.testing.assert_allclose(second[0], -0.1 * m / v**0.5, rtol=1e-4)
