"""Folds, rates and numbers of epochs share their programs."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.training import train
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET

COMPILED: list[str] = []


def note(event: str, duration_secs: float, **more: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(str(more))


jax.monitoring.register_event_duration_secs_listener(note)


@pytest.fixture
def folds(tiny_config: MakeConfig) -> list[Config]:
    """Two of four folds, with 30 training images and 10 validation images each.

    They also have other learning rates, warm-ups, and numbers of epochs.
    """
    changes = {**QUIET, "data.num_folds": 4, "data.normalize": "set"}
    # A constant of the step that no other test has, so that its program is not compiled yet.
    changes["train.ema_decay"] = 0.9371
    return [
        tiny_config(
            changes,
            seed=fold,
            data__fold=fold,
            train__epochs=1 + fold,
            optimizer__learning_rate=0.01 * (1 + fold),
            optimizer__warmup_steps=2 + fold,
        )
        for fold in (0, 1)
    ]


def test_a_second_fold_compiles_nothing_in_the_same_process(
    folds: list[Config], tmp_path: Path
) -> None:
    first, second = map(prepare, folds)
    assert first.model.mean != second.model.mean
    assert first.model.std != second.model.std
    counts = []
    for fold, config in enumerate(folds):
        COMPILED.clear()
        train.train_and_evaluate(config, tmp_path / str(fold))
        counts.append(len(COMPILED))
    assert counts[0] > 0
    assert counts[1] == 0, COMPILED


@pytest.mark.long
def test_a_second_fold_adds_nothing_to_the_cache_on_disk(
    folds: list[Config], tmp_path: Path
) -> None:
    """In a new process: it finds every program that the first fold compiled."""
    cache = tmp_path / "cache"
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": os.fspath(cache)}
    programs = []
    for fold, config in enumerate(folds):
        values = json.dumps(dataclasses.asdict(config))
        arguments: list[str | Path] = [
            "-m",
            "tests.training.sharing_test",
            values,
            tmp_path / str(fold),
        ]
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        programs.append({path.name for path in cache.iterdir() if path.name.endswith("-cache")})
    assert len(programs[0]) > 5
    assert programs[1] == programs[0]


if __name__ == "__main__":
    train.train_and_evaluate(config_lib.from_dict(json.loads(sys.argv[1])), sys.argv[2])
