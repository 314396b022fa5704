import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crnn_jax.errors import DamageError, RunError
from crnn_jax.runs.checkpoint import Checkpoints

PARAMS = {"layer": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)}}
META = {"alphabet": "añ日", "mean": [1.5], "best_epoch": 1}


def _training(step: Any) -> dict[str, Any]:
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(lambda i: 0.1, momentum=0.9))
    return {"step": jnp.int32(step), "opt_state": tx.init(PARAMS)}


def _scaled(factor: Any) -> Any:
    return jax.tree.map(lambda x: x * factor, PARAMS)


def test_latest_and_best_are_kept_with_those_before_and_come_back_bit_for_bit(
    tmp_path: Path,
) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_epoch() is None
        for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 5)):
            meta = {**META, "best_epoch": best}
            checkpoints.save(epoch, _scaled(epoch), _training(epoch), meta, best)
    # The latest epoch, 5, is the best; the one before is 4, whose best epoch was 2.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "4", "5"]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.latest_epoch() == 5
        assert checkpoints.meta(2) == {**META, "best_epoch": 2}
        latest = checkpoints.restore(4, {"params": PARAMS, "training": _training(0)})
        restored = checkpoints.restore(2, {"params": PARAMS})
    expected = {"params": _scaled(4), "training": _training(4)}
    structures: list[Any] = [jax.tree.structure(tree) for tree in (latest, expected)]
    assert structures[0] == structures[1]
    jax.tree.map(np.testing.assert_array_equal, latest, expected)
    jax.tree.map(np.testing.assert_array_equal, restored, {"params": _scaled(2)})


def test_a_state_of_another_optimizer_is_refused_by_name(tmp_path: Path) -> None:
    """The momentum was one transformation deeper in the chain."""
    momentum = optax.trace(0.9)
    trees = [optax.chain(optax.identity(), momentum), optax.chain(momentum, optax.identity())]
    old, new = ({"step": jnp.int32(1), "opt_state": tree.init(PARAMS)} for tree in trees)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, old, META, 1)
        with pytest.raises(RunError, match=r"another state .*: opt_state/0/") as error:
            checkpoints.restore(1, {"params": PARAMS, "training": new})
    assert not isinstance(error.value, DamageError)


@pytest.mark.parametrize(
    ("like", "named"),
    [
        ({"layer": {"kernel": jnp.zeros((2, 4)), "bias": jnp.zeros(3)}}, "layer/kernel"),
        ({"layer": {"kernel": jnp.zeros((2, 3))}}, "layer/bias"),
        ({"other": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}, "layer/bias"),
    ],
)
def test_another_model_s_checkpoint_is_refused_by_name(
    tmp_path: Path, like: Any, named: str
) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, _training(1), META, 1)
        with pytest.raises(RunError, match=f"belongs to another model: {named}"):
            checkpoints.restore(1, {"params": like})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, _training(1), META, 1)
    for path in (tmp_path / "1" / "params").rglob("*"):
        if path.is_file() and "ocdbt" in path.name:
            path.write_bytes(path.read_bytes()[:10])
    with (
        Checkpoints(tmp_path, read_only=True) as checkpoints,
        pytest.raises(RunError, match="damaged"),
    ):
        checkpoints.restore(1, {"params": PARAMS})


def test_what_the_threads_of_a_load_say_after_it_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: heard.append(str(it.exc_value)))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, _training(1), META, 1)
        checkpoints.restore(1, {"params": PARAMS})
    for error, of in [
        (RuntimeError("Event loop is closed"), None),  # of uvloop, in threads of tensorstore
        (RuntimeError("Event loop is closed"), print),
        (RuntimeError("another"), None),
    ]:
        sys.unraisablehook(
            types.SimpleNamespace(exc_type=type(error), exc_value=error, object=of, err_msg=None)
        )
    assert heard == ["Event loop is closed", "another"]


def test_a_checkpoint_without_its_metadata_is_damaged(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, _training(1), META, 1)
    (tmp_path / "1" / "_CHECKPOINT_METADATA").write_text("{")
    with (
        Checkpoints(tmp_path, read_only=True) as checkpoints,
        pytest.raises(RunError, match="damaged"),
    ):
        checkpoints.meta(1)


def test_reading_needs_a_directory_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing has been trained"):
        Checkpoints(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns a function that makes Ctrl-C arrive in the next call of a method of Orbax."""

    module = "orbax.checkpoint.experimental.v1._src.handlers.pytree_handler"
    handler = pytest.importorskip(module).PyTreeHandler

    async def interrupted() -> None:
        raise KeyboardInterrupt

    def arrange(name: str) -> None:
        method = getattr(handler, name)
        calls: list[int] = []

        async def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                return await method(*args, **kwargs)
            if name == "load":
                return interrupted()  # which Orbax awaits later
            raise KeyboardInterrupt

        monkeypatch.setattr(handler, name, call)

    return arrange


def test_ctrl_c_while_arrays_are_listed_is_no_damage(
    tmp_path: Path, interrupt: Callable[[str], None]
) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        interrupt("metadata")
        checkpoints.save(1, PARAMS, _training(1), META, 1)  # they are listed to check them
        interrupt("metadata")
        restored = checkpoints.restore(1, {"params": PARAMS})
    jax.tree.map(np.testing.assert_array_equal, restored, {"params": PARAMS})


def test_ctrl_c_while_arrays_are_read_is_no_damage(
    tmp_path: Path, interrupt: Callable[[str], None]
) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, _training(1), META, 1)
        interrupt("load")
        with pytest.raises(KeyboardInterrupt):
            checkpoints.restore(1, {"params": PARAMS})
