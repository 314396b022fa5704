import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.inference import calibration


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_scale_of_logits_is_found_from_texts_drawn_by_the_true_ones(scale: float) -> None:
    # One step: the text is the sampled class, or empty for the blank.
    true = jax.random.normal(jax.random.key(0), (4000, 1, 6)) * 2
    drawn = jax.random.categorical(jax.random.key(1), true[:, 0])
    labels = jnp.where(drawn == 5, -1, drawn)[:, None]
    # 4,000 texts determine it to a few percent, whatever the prior.
    assert calibration.fit_temperature(scale * true, labels) == pytest.approx(scale, rel=0.06)


def test_the_fit_is_the_least_cost_by_hand() -> None:
    # One image, one step, two classes, logits (2, 0), read right: -log p = log(1 + e^(-2 / t)).
    temperature = float(calibration.fit_temperature(jnp.array([[[2.0, 0.0]]]), jnp.array([[0]])))
    t = np.linspace(0.3, 3, 20_000)
    cost = np.log1p(np.exp(-2 / t)) + (np.log(t) / 0.5) ** 2 / 2
    assert temperature == pytest.approx(t[cost.argmin()], rel=0.02)
    assert temperature < 1


def test_one_misread_of_great_confidence_spreads_the_rest() -> None:
    logits = jnp.tile(jnp.array([[[12.0, 0.0, 0.0]]]), (50, 1, 1))
    right = jnp.zeros((50, 1), jnp.int32)
    assert calibration.fit_temperature(logits, right) <= 1
    assert calibration.fit_temperature(logits, right.at[0, 0].set(1)) > 1.5
