"""The order of compilations, barriers and calls of a program on several processes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.runtime import first_call, hosts


def test_no_program_runs_before_all_processes_have_compiled_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    def doubled(x: jax.Array) -> jax.Array:
        events.append("compiled")  # python runs when the function is traced
        jax.debug.callback(lambda: events.append("called"))
        return 2 * x

    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "barrier", lambda: events.append("all have compiled"))
    call = first_call.compiled_by_all(jax.jit(doubled))
    for x in (jnp.ones(2), 3 * jnp.ones(2), jnp.ones(3), jnp.ones(2)):
        np.testing.assert_array_equal(call(x), 2 * np.asarray(x))
        jax.effects_barrier()
    first = ["compiled", "all have compiled", "called"]
    assert events == [*first, "called", *first, "called"]


def test_a_single_process_waits_for_nobody() -> None:
    call = jax.jit(jnp.sin)
    assert first_call.compiled_by_all(call) is call
