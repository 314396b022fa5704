import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import ctc
from crnn_jax.objective import consistency, entropy, objective

T, K = 6, 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(4, T, K)), jnp.float32)
LABELS = jnp.array([[0, 1, 2], [2, -1, -1], [1, 0, -1], [0, 2, 1]])
PIXELS = jnp.zeros((4, 12, 5, 1))
MASK = jnp.array([True, True, True, False])


@pytest.fixture
def total(tiny_config):
    """A function: changes of the section loss to the objective, the flat start over."""

    def make(inner_logits=None, mask=MASK, **changes):
        config = tiny_config()
        config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, **changes))
        value, (ctc_loss, _) = objective(
            LOGITS, inner_logits, LABELS, PIXELS, mask, jnp.float32(0), config
        )
        np.testing.assert_allclose(ctc_loss, ctc.ctc_loss(LOGITS, LABELS)[mask].mean(), rtol=1e-6)
        return float(value)

    return make


def test_by_default_it_is_the_mean_ctc_loss(total):
    assert total() == pytest.approx(float(ctc.ctc_loss(LOGITS, LABELS)[:3].mean()))


def test_by_length_each_symbol_weighs_the_same(total):
    # Lengths 3, 1, 2, of mean 2.
    losses = np.asarray(ctc.ctc_loss(LOGITS, LABELS))
    expected = 2 * np.mean([losses[0] / 3, losses[1], losses[2] / 2])
    assert total(by_length=True) == pytest.approx(expected)


def test_the_inner_head_takes_its_share(total):
    inner = jnp.asarray(RNG.normal(size=(4, T, K)), jnp.float32)
    expected = 0.7 * total() + 0.3 * float(ctc.ctc_loss(inner, LABELS)[:3].mean())
    assert total(inner, inner=0.3) == pytest.approx(expected)


def test_entropy_is_rewarded(total):
    # An even distribution over four has ln 4 a step, a certain one none.
    even, certain = jnp.zeros((1, T, K)), jnp.zeros((1, T, K)).at[..., 0].set(100)
    assert entropy(even)[0] == pytest.approx(T * np.log(4))
    assert entropy(certain)[0] == pytest.approx(0)
    expected = total() - 0.1 * float(entropy(LOGITS)[:3].mean())
    assert total(entropy=0.1) == pytest.approx(expected)


def test_consistency_is_the_divergence_between_the_views(total):
    # Two views of one picture, one step, two classes: p = (3/4, 1/4) and q = (1/2, 1/2).
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    logits = jnp.log(jnp.asarray([[p], [q]], jnp.float32))
    expected = [(q * np.log(q / p)).sum(), (p * np.log(p / q)).sum()]
    np.testing.assert_allclose(consistency(logits), expected, rtol=1e-5)
    everything = jnp.ones(4, bool)
    added = total(mask=everything, consistency=0.5) - total(mask=everything)
    assert added == pytest.approx(0.5 * float(consistency(LOGITS).mean()), rel=1e-4)


def test_a_view_learns_from_the_other_and_not_the_other_way_round():
    # With the target given, the gradient of KL(q || p) by p's logits is p - q.
    logits = LOGITS[:2]
    p = jax.nn.softmax(logits)
    grads = jax.grad(lambda x: consistency(x).sum())(logits)
    np.testing.assert_allclose(grads, p - p[::-1], atol=1e-6)
