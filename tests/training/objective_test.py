import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import ctc_loss as ctc
from crnn_jax.training.context import prepare
from crnn_jax.training.step import Examples, entropy, objective, recipe
from tests.helpers.fixtures import MakeConfig

value_of = jax.jit(objective, static_argnums=3)
T, K = 6, 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(4, T, K)), jnp.float32)
LABELS = jnp.array([[0, 1, 2], [2, -1, -1], [1, 0, -1], [0, 2, 1]])
PIXELS = jnp.zeros((4, 12, 5, 1))
MASK = jnp.array([True, True, True, False])


@pytest.fixture
def total(tiny_config: MakeConfig) -> Callable[..., float]:
    """Returns a function from changes of the section loss to the objective after the flat start."""

    def make(**changes: Any) -> float:
        settings = recipe(prepare(tiny_config()))
        examples = Examples(PIXELS, LABELS, MASK)
        settings = settings._replace(loss=dataclasses.replace(settings.loss, **changes))
        value, (ctc_loss, _) = value_of(LOGITS, examples, jnp.float32(0), settings)
        np.testing.assert_allclose(ctc_loss, ctc.ctc_loss(LOGITS, LABELS)[MASK].mean(), rtol=1e-6)
        return float(value)

    return make


def test_by_default_it_is_the_mean_ctc_loss(total: Callable[..., float]) -> None:
    assert total() == pytest.approx(float(ctc.ctc_loss(LOGITS, LABELS)[:3].mean()))


def test_by_length_each_symbol_weighs_the_same(total: Callable[..., float]) -> None:
    # Lengths 3, 1, 2, with mean 2.
    losses = np.asarray(ctc.ctc_loss(LOGITS, LABELS))
    expected = 2 * np.mean([losses[0] / 3, losses[1], losses[2] / 2])
    assert total(by_length=True) == pytest.approx(expected)


def test_entropy_is_rewarded(total: Callable[..., float]) -> None:
    # A uniform distribution over four has ln 4 per step, a certain one 0.
    even, certain = jnp.zeros((1, T, K)), jnp.zeros((1, T, K)).at[..., 0].set(100)
    assert entropy(even)[0] == pytest.approx(T * np.log(4))
    assert entropy(certain)[0] == pytest.approx(0)
    expected = total() - 0.1 * float(entropy(LOGITS)[:3].mean())
    assert total(entropy=0.1) == pytest.approx(expected)


def test_images_without_text_do_not_lower_the_flat_start_loss(tiny_config: MakeConfig) -> None:
    """They have no segmentation. A uniform guess has ln K for each image with text."""
    settings = recipe(prepare(tiny_config()))
    for labels in ([[0, 1], [2, -1], [-1, -1], [-1, -1]], [[0, 1], [2, -1], [1, 1], [-1, -1]]):
        examples = Examples(PIXELS, jnp.array(labels), MASK)
        _, (_, flat) = value_of(jnp.zeros((4, T, K)), examples, jnp.float32(1), settings)
        assert float(flat) == pytest.approx(np.log(K))
    none = Examples(PIXELS, jnp.full((4, 2), -1), MASK)
    _, (_, flat) = value_of(jnp.zeros((4, T, K)), none, jnp.float32(1), settings)
    assert float(flat) == 0
