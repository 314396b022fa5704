"""The calls of the compiled step: of one run, or of several in one program."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.training.run import Run
from crnn_jax.training.step import Batch, jitted_steps, jitted_steps_of_runs


def stack_runs(runs: Sequence[Run]) -> tuple[Any, Any, Any]:
    """Returns the compiled steps, the state and the constants; several runs add a leading axis."""
    each = [(run.state, run.constants) for run in runs]
    if len(runs) == 1:
        return jitted_steps(runs[0].context), *each[0]
    state, inputs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return jitted_steps_of_runs(runs[0].context), state, inputs


def batches(runs: Sequence[Run]) -> Iterator[Batch]:
    """Yields the remaining calls of an epoch. For several runs, indices and mask are [R, S, B]."""
    context = runs[0].context
    calls: Iterable[Any] = runs[0].calls()
    if len(runs) > 1:
        calls = (
            map(np.stack, zip(*c, strict=True))
            for c in zip(*[r.calls() for r in runs], strict=True)
        )
    for images, labels, indices, mask in context.batches(calls):
        # Copied explicitly, because the tests of this loop forbid implicit transfers.
        yield Batch(images, labels, *context.devices.replicate((indices, mask)))


def unstack_runs(state: Any, runs: Sequence[Run]) -> list[Any]:
    """Returns the state of each run. The inverse of what `stack_runs` does to several runs."""
    if len(runs) == 1:
        return [state]

    def row(leaf: jax.Array, i: int) -> jax.Array:  # without copying `i` to the device, as leaf[i]
        return jax.lax.index_in_dim(leaf, i, keepdims=False)

    return [jax.tree.map(functools.partial(row, i=i), state) for i in range(len(runs))]
