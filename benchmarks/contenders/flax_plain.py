"""The model in plain Flax and optax, as users would write it: jit with a donated state."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import worker
from flax import linen as nn


class CRNN(nn.Module):
    """Pixels u8 [B, W, H, C] to logits [B, T, K]."""

    job: worker.Job
    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        convolutions, dense, units = self.job.widths()
        x: Any = images.astype(jnp.float32) / 255
        for i, features in enumerate(convolutions, 1):
            x = nn.relu(nn.Conv(features, (3, 3), name=f"Conv{i}")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(*x.shape[:2], -1)  # [B, T, H C]
        x = nn.relu(nn.Dense(dense, name="dense1")(x))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        for i, u in enumerate(units):
            x = nn.Dropout(0.25, broadcast_dims=(1,), deterministic=not train)(x)
            x = nn.Bidirectional(
                nn.RNN(nn.OptimizedLSTMCell(u, name=f"forward{i}")),
                nn.RNN(nn.OptimizedLSTMCell(u, name=f"backward{i}")),
            )(x)
        return nn.Dense(self.num_classes, name="dense2")(x)


def loss_of(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean CTC loss: logits [B, T, K], labels [B, L] padded with -1."""
    no_padding = jnp.zeros(logits.shape[:2])
    blank = logits.shape[-1] - 1
    return optax.ctc_loss(logits, no_padding, labels, (labels < 0) * 1.0, blank_id=blank).mean()


def load(arrays: dict[str, np.ndarray]) -> Any:
    """Returns a tree for the Flax cells from parameters in the names and layout of the package."""
    tree: dict[str, Any] = {}
    for layer in ("Conv1", "Conv2", "dense1", "dense2"):
        tree[layer] = {name: arrays[f"{layer}/{name}"] for name in ("kernel", "bias")}
    for i, layer in enumerate(("bidirectional", "bidirectional_1")):
        for way in ("forward", "backward"):
            cell: dict[str, Any] = {}
            for gate, kernel, recurrent, bias in zip(
                "ifgo",
                np.split(arrays[f"{layer}/{way}_kernel"], 4, 1),
                np.split(arrays[f"{layer}/{way}_recurrent_kernel"], 4, 1),
                np.split(arrays[f"{layer}/{way}_bias"], 4),
                strict=True,
            ):
                cell[f"i{gate}"] = {"kernel": kernel}
                cell[f"h{gate}"] = {"kernel": recurrent, "bias": bias}
            tree[f"{way}{i}"] = cell
    return jax.tree.map(jnp.array, tree)


def step_of(model: CRNN) -> tuple[Callable[..., Any], optax.GradientTransformation]:
    """Returns a jitted training step and its optimizer."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.sgd(0.04, momentum=0.9, nesterov=True)
    )

    def update(state: Any, images: jax.Array, labels: jax.Array, indices: jax.Array) -> Any:
        params, opt_state, key = state
        key, dropout = jax.random.split(key)

        def loss(params: Any) -> jax.Array:
            rngs = {"dropout": dropout}
            logits: Any = model.apply({"params": params}, images[indices], True, rngs=rngs)
            return loss_of(logits, labels[indices])

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), value

    return jax.jit(update, donate_argnums=0), optimizer


def prepare(job: worker.Job) -> worker.Work:
    arrays = job.load()
    model = CRNN(job, arrays["dense2/bias"].size)
    params = load(arrays)
    images, labels = jax.device_put(arrays["images"]), jax.device_put(arrays["labels"])
    read = jax.jit(lambda params, images: model.apply({"params": params}, images, False))
    answers = {
        "logits": np.asarray(read(params, images[: worker.CHECKED])),
        "loss": float(loss_of(read(params, images[: job.batch]), labels[: job.batch])),
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    packages = ("jax", "jaxlib", "flax", "optax")
    if job.work == "read":
        pixels = arrays["images"][: job.batch]
        turn = worker.timed(lambda: np.asarray(read(params, pixels)))
        return worker.Work(turn, count, packages, **answers)

    step, optimizer = step_of(model)
    state = (params, optimizer.init(params), jax.random.key(0))
    batches = itertools.cycle([b.astype(np.int32) for b in job.batches(8, len(images))])

    def call() -> Any:
        nonlocal state
        state, loss = step(state, images, labels, next(batches))
        return loss

    return worker.Work(worker.timed(call, jax.block_until_ready), count, packages, **answers)


if __name__ == "__main__":
    worker.serve(prepare)
