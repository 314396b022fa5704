import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import flat_start


def test_ink_is_where_columns_differ():
    # 20 columns, strokes of equal height at 5 and 15 on a flat ground: each has two edges,
    # at 4-5, 5-6 and 14-15, 15-16. Ten steps; their middles are columns 1, 3, ... 19.
    image = np.full((1, 20, 4, 1), 200, np.uint8)
    image[0, [5, 15]] = 0
    position = flat_start.ink_position(jnp.asarray(image), 10)
    #          1  3  5    7    9    11   13   15  17 19
    expected = [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]
    np.testing.assert_allclose(position[0], expected, atol=1e-6)


def test_a_picture_without_ink_counts_as_even():
    image = jnp.full((1, 41, 3, 1), 7, jnp.uint8)
    position = flat_start.ink_position(image, 10)
    # middles at 2, 6, ... of 40 differences
    np.testing.assert_allclose(position[0], (np.arange(10) * 4 + 3) / 40, rtol=1e-5)


def test_segmentation_shares_the_ink_equally_by_hand():
    a, b = 0, 1
    position = jnp.asarray([[0.0, 0.1, 0.3, 0.49, 0.51, 0.7, 0.95, 1.0]] * 2)
    labels = jnp.array([[a, b], [b, -1]])
    np.testing.assert_array_equal(
        flat_start.segment(labels, position, trim=0.05),
        [[-1, a, a, a, b, b, -1, -1], [-1, b, b, b, b, b, -1, -1]],
    )
    # Without trimming the first step is in, the end of the ink is not.
    assert flat_start.segment(labels, position, trim=0.0)[0].tolist() == [a, a, a, a, b, b, b, -1]


def test_loss_is_the_mean_over_the_steps_that_have_a_target():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 12, 5, 1), np.uint8)
    labels = jnp.array([[0, 1, 2], [2, -1, -1]])
    logits = rng.normal(size=(2, 6, 4)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = flat_start.segment(labels, flat_start.ink_position(jnp.asarray(images), 6), 0.1)
    expected = [
        -np.mean([log_p[n, t, k] for t, k in enumerate(row) if k >= 0])
        for n, row in enumerate(np.asarray(targets))
    ]
    assert (np.asarray(targets) == -1).any()
    result = flat_start.loss(jnp.asarray(logits), labels, jnp.asarray(images), 0.1)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("trim", [0.0, 0.49])
def test_loss_is_finite_for_a_picture_of_one_column_of_ink(trim):
    image = np.zeros((1, 12, 5, 1), np.uint8)
    image[0, 6:] = 255
    loss = flat_start.loss(jnp.zeros((1, 6, 4)), jnp.array([[0, 1]]), jnp.asarray(image), trim)
    assert np.isfinite(loss).all()
