import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import FlatStartConfig
from crnn_jax.training import flat_start

# One program each: eager code would compile every operation of every shape by itself.
ink_position = jax.jit(flat_start.ink_position, static_argnums=1)
segment = jax.jit(flat_start.segment, static_argnums=2)
loss_of = jax.jit(flat_start.loss, static_argnums=3)


def test_ink_is_where_columns_differ() -> None:
    # 40 columns, strokes of equal height at 10 and 30 on a flat background. Blurred over five
    # columns a stroke is a plateau from 8 to 12, so that columns differ at its ends: 7-8, 12-13
    # and 27-28, 32-33, by the same amount. Twenty steps; their middles are columns 1, 3, ... 39.
    image = np.full((1, 40, 4, 1), 200, np.uint8)
    image[0, [10, 30]] = 0
    position = np.asarray(ink_position(image, 20))
    expected = np.repeat([0, 0.25, 0.5, 0.75, 1], [3, 3, 7, 3, 4])
    np.testing.assert_allclose(position[0], expected, atol=1e-5)


def test_noise_that_is_everywhere_is_no_ink_and_a_faint_symbol_counts_by_its_root() -> None:
    # Stripes of period two everywhere: a blur over five leaves a fifth of them, equal in each
    # column, which is the floor. The second stroke is a quarter of the first: half its root.
    image = np.full((1, 60, 6, 1), 180.0, np.float32)
    image[0, 15] -= 160
    image[0, 45] -= 40
    clean = np.asarray(ink_position(image, 30))
    image[0, :, 0::2] += 20 * (-1) ** np.arange(60)[:, None, None]
    noisy = np.asarray(ink_position(image, 30))
    middle = 15  # column 31, between the strokes
    np.testing.assert_allclose(clean[0, middle], 2 / 3, atol=1e-4)
    np.testing.assert_allclose(noisy[0, middle], 2 / 3, atol=0.03)


def test_a_picture_without_ink_counts_as_even() -> None:
    image = np.full((1, 41, 5, 1), 7, np.uint8)
    position = np.asarray(ink_position(image, 10))
    # middles at 2, 6, ... of 40 differences
    np.testing.assert_allclose(position[0], (np.arange(10) * 4 + 3) / 40, rtol=1e-5)


def test_segmentation_weights_the_ink_equally_by_hand() -> None:
    a, b = 0, 1
    position = np.array([[0.0, 0.1, 0.3, 0.49, 0.51, 0.7, 0.95, 1.0]] * 2, np.float32)
    labels = np.array([[a, b], [b, -1]], np.int32)
    np.testing.assert_array_equal(
        segment(labels, position, 0.05),
        [[-1, a, a, a, b, b, -1, -1], [-1, b, b, b, b, b, -1, -1]],
    )
    # Without trimming, the first step is inside, and the end of the ink is not.
    assert np.asarray(segment(labels, position, 0.0))[0].tolist() == [a, a, a, a, b, b, b, -1]


def test_loss_is_the_mean_over_the_steps_that_have_a_target() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 12, 5, 1), np.uint8)
    labels = np.array([[0, 1, 2], [2, -1, -1]], np.int32)
    logits = rng.normal(size=(2, 6, 4)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = np.asarray(segment(labels, ink_position(images, 6), 0.1))
    expected = [
        -np.mean([log_p[n, t, k] for t, k in enumerate(row) if k >= 0])
        for n, row in enumerate(targets)
    ]
    assert (targets == -1).any()
    result = loss_of(logits, labels, images, 0.1)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("trim", [0.0, 0.49])
def test_loss_is_finite_for_a_picture_of_one_column_of_ink(trim: float) -> None:
    image = np.zeros((1, 12, 5, 1), np.uint8)
    image[0, 6:] = 255
    loss = np.asarray(
        loss_of(np.zeros((1, 6, 4), np.float32), np.array([[0, 1]], np.int32), image, trim)
    )
    assert np.isfinite(loss).all()


CONFIG = FlatStartConfig(until=0.5, max_steps=9, fade_steps=2, trim=0.0)


def test_the_weight_falls_by_a_factor_once_the_loss_is_low_and_stays_0() -> None:
    """Of three classes, two are symbols: a uniform guess costs ln 2."""
    state = flat_start.start(CONFIG)
    assert (state.loss, state.weight) == (1, 1)
    weights, means = [], [1.0]
    # The loss of a uniform guess, then nearly 0: the mean is 0.9^n, which is below 1/2 at n = 7.
    losses = [np.log(2)] * 3 + [1e-9] * 20 + [np.log(2) * 9] * 3
    for loss in losses:
        state = state.advance(jnp.float32(loss), jnp.int32(0), 3, 1000, CONFIG)
        weights.append(float(state.weight))
        means.append(float(state.loss))
    np.testing.assert_allclose(means[3:24], 0.9 ** np.arange(21), rtol=1e-5)
    # Halved each time, and 0 below a hundredth.
    assert weights == [1.0] * 9 + [2.0**-n for n in range(1, 7)] + [0.0] * 11


def test_a_batch_without_text_says_nothing_about_the_loss() -> None:
    state = flat_start.start(CONFIG)
    for _ in range(20):
        state = state.advance(jnp.float32(0), jnp.int32(0), 3, 1000, CONFIG)
    assert (state.loss, state.weight) == (1, 1)


@pytest.mark.parametrize(("num_steps", "last"), [(1000, 9), (12, 4), (2, 0)])
def test_the_weight_falls_when_its_time_is_over(num_steps: int, last: int) -> None:
    """After max_steps, or a third of a short run; the weight is 0 within half of that."""
    even = jnp.float32(np.log(2))
    state, weights = flat_start.start(CONFIG), []
    for step in range(min(num_steps, 30)):
        state = state.advance(even, jnp.int32(step), 3, num_steps, CONFIG)
        weights.append(float(state.weight))
    assert weights[:last] == [1.0] * last
    assert 0 <= weights[last] < 1
    assert weights[last + 10 :] == [0.0] * (len(weights) - last - 10 if len(weights) > 12 else 0)


def test_without_a_flat_start_the_weight_is_0() -> None:
    assert flat_start.start(dataclasses.replace(CONFIG, until=0.0)).weight == 0


def test_a_weight_that_has_begun_to_fall_falls_on() -> None:
    """Also if the loss is that of a uniform guess again: a half is halved."""
    state = flat_start.FlatStart(jnp.float32(1), jnp.float32(0.5))
    assert state.advance(jnp.float32(np.log(2)), jnp.int32(0), 3, 1000, CONFIG).weight == 0.25


def test_in_a_short_run_the_weight_is_0_within_the_first_half() -> None:
    """Of 60 steps, 10 are left from a third to the half, in which the weight falls to 0.01.

    So each factor is about exp(-ln 100 / 10), which is 1 - ln 100 / 10. From step 9 on, the eighth
    is the first below 0.01.
    """
    config = dataclasses.replace(CONFIG, fade_steps=1000)
    state, weights = flat_start.start(config), []
    for step in range(18):
        state = state.advance(jnp.float32(np.log(2)), jnp.int32(step), 3, 60, config)
        weights.append(float(state.weight))
    factor = 1 - np.log(100) / 10
    expected = [*[1.0] * 9, *(factor**n for n in range(1, 8)), 0, 0]
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
