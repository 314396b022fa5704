"""A process finds the programs of an earlier one without tracing them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.runtime import program_files
from crnn_jax.runtime.compilation_cache import PROGRAMS
from tests.helpers.stored_programs import (
    accumulated,
    forget,
    power,
    process,
    programs,
    scaled,
    traced,
)

TREE = {"a": np.array([1, 2], np.float32)}


def test_a_second_process_calls_a_program_without_tracing(store: Path) -> None:
    for _ in range(2):
        call = process(power)
        for _ in range(2):
            product, x = call(TREE, np.float32(3), n=2)
            np.testing.assert_array_equal(product, [9, 18])
            assert x == 3
    assert traced == ["power"]
    assert len(programs(store)) == 1


def test_what_a_program_depends_on_finds_another_one(store: Path) -> None:
    assert process(power)(TREE, np.float32(3), n=2)[0].tolist() == [9, 18]
    assert process(power)(TREE, np.float32(3), n=3)[0].tolist() == [27, 54]
    assert process(power)({"a": np.float32(1)}, np.float32(3), n=2)[0].tolist() == 9
    assert process(power)(TREE, np.int32(3), n=2)[1].dtype == np.int32
    assert process(power)(TREE, 3.0, n=2)[0].tolist() == [9, 18]
    assert process(scaled)(np.float32(3)) == 6
    assert len(programs(store)) == len(traced) == 6


def test_a_program_of_several_devices_that_takes_the_memory_of_its_argument(store: Path) -> None:
    """As a training step does. The first call of a stored program takes that of a copy."""
    both = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",))
    whole, split = (
        jax.sharding.NamedSharding(both, jax.sharding.PartitionSpec(*axes))
        for axes in ((), ("batch",))
    )
    x = jax.device_put(np.arange(4.0, dtype=np.float32), split)
    for _ in range(2):
        call = process(accumulated, donated=(0,))
        total = start = jax.device_put(np.float32(1), whole)
        for _ in range(2):
            total, _ = call(total, x)
        assert total == 1 + 2 * (0 + 1 + 2 + 3)
        assert total.sharding.device_set == {*jax.devices()[:2]}
        assert start.is_deleted()
    one, _ = call(np.float32(1), np.array([5], np.float32))  # on one device: another program
    assert one == 6
    assert traced == ["accumulated", "accumulated"]


def test_two_programs_that_take_turns_keep_apart(store: Path) -> None:
    """Their arguments have the same shapes at the first level."""
    call = process(power)
    for a in (np.array([1, 2], np.float32), np.float32(3)) * 2:
        product, _ = call({"a": a}, np.float32(3), n=2)
        np.testing.assert_array_equal(product, 9 * a)
    assert call({"a": np.int32(2)}, np.int32(3), n=2)[0].dtype == np.int32
    assert len(traced) == 3


def test_a_program_that_was_removed_is_stored_again(store: Path) -> None:
    """One from jax's cache could not be: see `program_store`."""
    for _ in range(2):
        for file in programs(store):
            file.unlink()
        assert process(scaled)(np.float32(3)) == 6
        assert len(programs(store)) == 1


def test_a_program_from_jax_s_cache_is_not_stored(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be called, and fail, in the next process."""
    monkeypatch.setattr(program_files, "leave_cache", lambda name: None)
    for _ in range(2):
        for file in programs(store):
            file.unlink()
        assert process(scaled)(np.float32(3)) == 6
    assert programs(store) == []


def test_a_stored_program_that_fails_is_compiled_and_not_tried_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has taken the memory of its argument before it failed."""

    def failing(total: jax.Array, _: Any) -> None:
        total.delete()
        raise RuntimeError("NOT_FOUND: Function fusion.9 not found")

    def call(total: Any) -> Any:
        return process(accumulated, (0,))(jnp.asarray(total), np.array([5], np.float32))[0]

    assert call(np.float32(1)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(program_files, "load", lambda *_: failing)
        assert call(np.float32(2)) == 7
    assert call(np.float32(3)) == 8  # not loaded
    assert traced == ["accumulated"] * 3
    assert len(list(store.rglob("*.refused"))) == 1


def test_an_error_of_the_arguments_refuses_no_program(store: Path) -> None:
    """Here, memory that is exhausted whatever program runs."""

    def exhausted(*_: Any) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED")

    process(scaled)(np.float32(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_files, "load", lambda *_: exhausted)
        patch.setattr(jax.stages.Compiled, "__call__", exhausted)
        with pytest.raises(RuntimeError, match="EXHAUSTED"):
            process(scaled)(np.float32(3))
    assert list(store.rglob("*.refused")) == []
    assert process(scaled)(np.float32(3)) == 6


def test_what_no_other_process_would_find_is_not_stored(store: Path) -> None:
    """The repr of such a static argument is its address."""

    class Exponent:
        def __rpow__(self, x: Any) -> Any:
            return x**2

    assert process(power)(TREE, np.float32(3), n=Exponent())[0].tolist() == [9, 18]
    assert programs(store) == []


def test_a_call_inside_another_function_is_traced_with_it(store: Path) -> None:
    inner = process(scaled)
    assert jax.jit(lambda x: inner(x) + 1)(jnp.float32(3)) == 7
    assert jax.grad(lambda x: inner(x) * 1.0)(jnp.float32(3)) == 2
    assert programs(store) == []


@pytest.mark.parametrize(
    "change", ["no folder", "several processes", "another backend", "interactive", "a script"]
)
def test_nothing_is_stored(store: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    if change == "no folder":
        monkeypatch.setenv(PROGRAMS, "")
    elif change == "several processes":
        monkeypatch.setattr(jax, "process_count", lambda: 2)
    elif change == "another backend":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elif change == "interactive":
        monkeypatch.delattr(sys.modules["__main__"], "__file__")
    else:
        monkeypatch.setattr(sys.modules["__main__"], "__file__", "/home/me/train.py")
    forget()
    assert process(scaled)(np.float32(3)) == 6
    assert programs(store) == []


# Draws parameters as a command does.
DRAW = """
import __main__, crnn_jax
__main__.__file__ = crnn_jax.__path__[0] + "/__main__.py"
from crnn_jax import runtime
runtime.configure()
import jax
from crnn_jax import config
from crnn_jax.charset import Charset
from crnn_jax.models import crnn
values = config.from_changes({"model.lstm_units": (4,)})
model = crnn.build(values.model, Charset("ab"), [0.0], [1.0], False)
print(crnn.params_sha256(crnn.init(model, jax.random.key(0), values.data)))
"""


@pytest.mark.parametrize("function", ["_init", "_read_greedily"])
def test_the_second_command_traces_nothing(
    tmp_path: Path, trained: Path, captchas: Path, function: str
) -> None:
    """By jax's own log. `_init` calls LAPACK, which a process without a trace has to set up."""
    script = tmp_path / "draw.py"
    script.write_text(DRAW)
    arguments: dict[str, list[str | Path]] = {
        "_init": [script],
        "_read_greedily": ["-m", "crnn_jax", "predict", trained, min(captchas.iterdir())],
    }
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": os.fspath(tmp_path / "cache"),
        "JAX_LOG_COMPILES": "1",
        "PYTHONPATH": os.fspath(Path(__file__).parents[2]),
    }
    del environment[PROGRAMS]
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *arguments[function]], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append((done.stdout, f"Finished tracing {function}" in done.stderr))
    text = found[0][0]
    assert found == [(text, True), (text, False)]


def test_weak_types_are_promoted_as_in_jax(store: Path) -> None:
    call = process(multiplied)
    x = jnp.ones(3, jnp.bfloat16)
    for factor in (jnp.float32(2.5), jnp.asarray(2.5), jnp.float32(2.5)):
        tree = {"a": factor}
        assert call(tree, x).dtype == jax.jit(multiplied)(tree, x).dtype


def multiplied(tree: dict[str, Any], x: Any) -> Any:
    return tree["a"] * x
