"""The loop over steps: one program, no accidental copies, several steps in a call."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from crnn_jax.inference import recognizer
from crnn_jax.models import crnn
from crnn_jax.runtime import backend
from crnn_jax.training import calls, step, train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


def _metrics(workdir: Path) -> list[Any]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_nothing_is_traced_anew_though_the_last_batch_is_short(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of training and evaluation, and several calls of predict."""
    # Runs of the same recipe share a step. Another test has this recipe for images of another size.
    step._jitted.cache_clear()
    steps = []
    jitted_steps = calls.jitted_steps

    def spy(*arguments: Any) -> Any:
        steps.append(jitted_steps(*arguments))
        return steps[-1]

    monkeypatch.setattr(calls, "jitted_steps", spy)
    programs: list[Any] = []
    monkeypatch.setattr(step, "compiled_by_all", lambda call: programs.append(call) or call)
    traced = []
    apply = crnn.apply
    monkeypatch.setattr(crnn, "apply", lambda *args: traced.append(1) or apply(*args))
    # 36 = 4 x 8 + 4 training images, and 4 = 3 + 1 to evaluate; no other test has this size.
    config = tiny_config(
        {**QUIET, "model.dense_features": 13},
        train__epochs=2, train__batch_size=8, train__eval_batch_size=3,
    )  # fmt: skip
    train.train_and_evaluate(config, tmp_path)
    assert [program._cache_size() for program in programs] == [1]
    assert len(steps) == 2
    assert steps[0] is steps[1]
    # The step (one forward pass, for its gradient), and the logits for scores and temperature.
    assert len(traced) == 2
    reader = recognizer.load(tmp_path)
    arrays = np.random.default_rng(0).integers(0, 256, (11, 16, 64), np.uint8)
    counts = []
    for some in (arrays[:8], arrays[:8][::-1], arrays[:7], arrays[3:]):  # all padded to eight
        reader.predict(list(some))
        counts.append(len(traced))
    assert counts == [3] * 4


@pytest.mark.parametrize("batch_size", [8, 16])  # on one device, and on two
def test_the_step_loop_copies_nothing_to_the_device_by_accident(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    run_epoch, losses = train.run_epoch, []

    def guarded(runs: Any, *arguments: Any) -> None:
        with jax.transfer_guard("disallow"):
            run_epoch(runs, *arguments)
        losses.append(runs[0].losses)

    monkeypatch.setattr(train, "run_epoch", guarded)
    changes = {} if batch_size == 8 else QUIET
    config = tiny_config(changes, train__stop_after=2, train__batch_size=batch_size)
    assert (prepare(config).devices.mesh is None) == (batch_size == 8)
    train.train_and_evaluate(config, tmp_path)
    assert len(losses) == 2


@pytest.mark.long
def test_a_run_with_several_updates_in_a_call_is_the_same_run(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: the five updates of an epoch in calls of two, two and one."""
    lines = {}
    for steps in (1, 2):
        choices = backend.CPU._replace(steps=steps)
        monkeypatch.setattr(backend, "choices", lambda choices=choices: choices)
        config = tiny_config(QUIET, train__epochs=2, train__batch_size=8, log__every_steps=3)
        train.train_and_evaluate(config, tmp_path / str(steps))
        lines[steps] = _metrics(tmp_path / str(steps))
    assert [line["step"] for line in lines[1]] == [3, 5, 6, 9, 10]
    for one, two in zip(lines[1], lines[2], strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds"}:
            assert two[name] == pytest.approx(one[name], rel=1e-4)
