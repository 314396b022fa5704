"""One update: the objective it minimizes, and what it leaves unchanged."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import crnn, ctc_loss
from crnn_jax.training import flat_start
from crnn_jax.training import state as state_lib
from crnn_jax.training.context import TrainContext, prepare
from crnn_jax.training.step import Batch, Constants, augmented, constants, jitted_steps, recipe
from experiments.ablations import NO_AUGMENTATION
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE, QUIET

RATE = 0.01
PLAIN_SGD = {
    "optimizer.momentum": 0.0,
    "optimizer.nesterov": False,
    "optimizer.clip_norm": 0.0,
    "optimizer.warmup_steps": 0,
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": RATE,
}
ALL = np.ones(8, bool)
BATCH = np.arange(8, dtype=np.int32)
NUM_STEPS = 16  # T of the tiny model


class Trainer(NamedTuple):
    """A context with its compiled step, and the initial state."""

    context: TrainContext
    state: state_lib.TrainState
    step_fn: Callable[..., Any]

    def step(
        self, state: Any, indices: Any = BATCH, mask: Any = ALL, seed: int = 0
    ) -> tuple[Any, Any]:
        constants = Constants(self.context.model, jax.random.key(seed), self.context.pace)
        state = jax.tree.map(jnp.array, state)  # the step donates its arguments
        batch = Batch(self.context.images, self.context.labels, indices[None], mask[None])
        state, losses = self.step_fn(state, batch, constants)
        return state, losses[0]

    def losses(self, params: Any, trim: float = 0.0) -> tuple[Any, Any]:
        """Mean CTC loss and mean flat-start loss on the batch."""
        images, labels = self.context.images[BATCH], self.context.labels[BATCH]
        logits = crnn.apply(self.context.model, params, images)
        flat = flat_start.loss(logits, labels, images, trim)
        return ctc_loss.ctc_loss(logits, labels).mean(), flat.mean()


@pytest.fixture
def trainer(tiny_config: MakeConfig) -> Callable[..., Trainer]:
    def make(*arguments: Any, **overrides: Any) -> Any:
        config = tiny_config(*arguments, **overrides)
        context = prepare(config)
        return Trainer(context, state_lib.init_state(context), jitted_steps(context))

    return make


def test_padding_of_a_short_batch_changes_nothing(trainer: Callable[..., Trainer]) -> None:
    """Three examples and a mask: the loss is their mean for any padding."""
    it = trainer(QUIET, flat_start__until=0.0)
    mask = np.array([True] * 3 + [False] * 5)
    results = [
        it.step(it.state, np.array([4, 5, 6] + [filler] * 5, np.int32), mask) for filler in (0, 7)
    ]
    three = np.array([4, 5, 6])
    images, labels = it.context.data.images[three], np.asarray(it.context.labels)[three]
    apply = jax.jit(lambda params: crnn.apply(it.context.model, params, jnp.asarray(images)))
    expected = jax.jit(ctc_loss.ctc_loss)(apply(it.state.params), labels).mean()
    np.testing.assert_allclose([loss for _, loss in results], [expected] * 2, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        results[0][0].params,
        results[1][0].params,
    )


def test_a_step_is_the_optimizer_s_update_of_the_objective(trainer: Callable[..., Trainer]) -> None:
    """With plain SGD, the update shows the weights of the flat start and of CTC."""
    it = trainer({**QUIET, **PLAIN_SGD}, flat_start__trim=0.2)
    params = it.state.params
    losses = functools.partial(it.losses, trim=0.2)
    (ctc_grads, flat_grads), (ctc_mean, _) = jax.device_get(
        jax.jit(lambda params: (jax.jacrev(losses)(params), losses(params)))(params)
    )
    params = jax.device_get(params)
    for weight in (1.0, 0.25, 0.0):
        flat = flat_start.FlatStart(jnp.float32(1), jnp.float32(weight))
        state, loss = it.step(it.state._replace(flat_start=flat))
        expected = jax.tree.map(
            lambda p, a, b, w=weight: p - RATE * ((1 - w) * a + w * NUM_STEPS * b),
            params,
            ctc_grads,
            flat_grads,
        )
        differences = jax.tree.map(np.subtract, jax.device_get(state.params), expected)
        norms = [np.linalg.norm(leaf) for leaf in jax.tree.leaves(differences)]
        assert np.linalg.norm(norms) < 1e-5
        np.testing.assert_allclose(loss, ctc_mean, rtol=1e-5)
        assert int(state.step) == 1


def test_the_flat_start_is_over_by_max_steps_and_by_a_third_of_the_run(
    trainer: Callable[..., Trainer],
) -> None:
    # Four epochs of five steps: the weight falls from the seventh step on (number 6) at the latest.
    for max_steps, last in ((3, 3), (500, 6)):
        it = trainer(QUIET, flat_start__max_steps=max_steps, flat_start__fade_steps=1)
        state, weights = it.state, []
        for _ in range(9):
            state, _ = it.step(state)
            weights.append(float(state.flat_start.weight))
        assert weights == ([1.0] * last + [0.0] * 9)[:9]


def test_nothing_is_dropped_out_during_the_flat_start(trainer: Callable[..., Trainer]) -> None:
    """Until then, steps with different random keys agree."""
    it = trainer(QUIET, flat_start__max_steps=4, flat_start__fade_steps=1, model__dropout=0.2)
    losses: list[Any] = []
    for seed in (0, 1):
        state = it.state
        losses.append([])
        for _ in range(6):
            state, loss = it.step(state, seed=seed)
            losses[-1].append(float(loss))
    assert losses[0][:5] == losses[1][:5]
    assert losses[0][5] != losses[1][5]


def test_the_moving_average_by_hand(trainer: Callable[..., Trainer]) -> None:
    """The decays are 1/25, 2/26 and then the 0.1 of the config, which is less than 3/27."""
    it = trainer(BARE, train__ema_decay=0.1)
    state, expected = it.state, np.asarray(it.state.params["dense2"]["kernel"])
    for decay in (1 / 25, 2 / 26, 0.1):
        state, _ = it.step(state)
        expected = decay * expected + (1 - decay) * np.asarray(state.params["dense2"]["kernel"])
    np.testing.assert_allclose(state.ema["dense2"]["kernel"], expected, rtol=1e-5)


def test_streams_are_independent(tiny_config: MakeConfig) -> None:
    """Dropout does not affect initial weights, order and split; the seed affects the first two."""
    with_dropout, without, other = (
        tiny_config(),
        tiny_config(model__dropout=0.0, model__lstm_dropout=0.0),
        tiny_config(seed=1),
    )
    tasks = [prepare(c) for c in (with_dropout, without, other)]
    shas = [
        crnn.params_sha256(state_lib.init_state(context).params)
        for context, c in zip(tasks, (with_dropout, without, other), strict=True)
    ]
    assert shas[0] == shas[1] != shas[2]
    for context in tasks[1:]:
        np.testing.assert_array_equal(context.split.val, tasks[0].split.val)
    keys = {
        tuple(jax.random.key_data(state_lib.stream_key(jax.random.key(s), n)).tolist())
        for s in (0, 1)
        for n in "ab"
    }
    assert len(keys) == 4


def test_masks_and_distortions_are_drawn_anew_in_each_step_and_by_stream(
    tiny_config: MakeConfig,
) -> None:
    """For one batch after the flat start, and with the other stream turned off."""

    def drawn(step: Any, **overrides: Any) -> tuple[Any, Any]:
        config = tiny_config(**{"augment__noise": 0.1, "flat_start__until": 0.0, **overrides})
        context = prepare(config)
        state = state_lib.init_state(context)._replace(step=jnp.int32(step))
        batch = Batch(context.images, context.labels, BATCH, np.ones(8, bool))
        examples, dropout = augmented(
            state, constants(context), batch, jnp.arange(8), recipe(context)
        )
        return examples.pixels, dropout(jnp.ones((8, 50)), 0.5, "layer", (50,))

    zero, one = drawn(0), drawn(1)
    for a, again, b in zip(zero, drawn(0), one, strict=True):
        np.testing.assert_array_equal(a, again)
        rows = np.concatenate([a, b]).reshape(16, -1)
        assert len(np.unique(rows, axis=0)) == 16  # for all examples and steps
    pixels, _ = drawn(0, model__dropout=0.0, model__lstm_dropout=0.0)
    np.testing.assert_array_equal(pixels, zero[0])
    off = {f"augment__{name}": 0.0 for name in ("noise", "shift", "rotate", "scale", "shear")}
    _, masks = drawn(0, **off)
    np.testing.assert_array_equal(masks, zero[1])


@pytest.mark.parametrize(("how", "moments"), [("set", "the set's"), ("", (0.0, 255.0))])
def test_the_model_normalizes_with_the_training_part(
    tiny_config: MakeConfig, how: str, moments: Any
) -> None:
    context = prepare(tiny_config(data__normalize=how))
    if how == "set":
        pixels = context.data.images[context.split.train].astype(np.float64)
        moments = (pixels.mean(), pixels.std())
    np.testing.assert_allclose((context.model.mean[0], context.model.std[0]), moments)


def test_steps_in_one_call_are_the_same_steps(trainer: Callable[..., Trainer]) -> None:
    """Three batches in one call, and one after the other; dropout depends on the step."""
    it = trainer(NO_AUGMENTATION, train__batch_size=8, flat_start__until=0.0)
    order = np.arange(24, dtype=np.int32).reshape(3, 8)
    batch = Batch(it.context.images, it.context.labels, order, np.ones((3, 8), bool))
    state, expected = it.state, []
    for indices in order:
        state, loss = it.step(state, indices)
        expected.append(loss)
    together, losses = it.step_fn(jax.tree.map(jnp.array, it.state), batch, constants(it.context))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, state)
