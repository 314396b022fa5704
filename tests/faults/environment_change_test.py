"""A run that continues with other versions or on another machine."""

import json
import signal
from pathlib import Path
from typing import Any

import jax
import pytest

from crnn_jax import schema
from crnn_jax.errors import RunError
from crnn_jax.runs import provenance, record_types
from crnn_jax.runtime import signals
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.interrupting import interrupt_after
from tests.helpers.quiet import QUIET


def _edit(run: Path, **changes: Any) -> None:
    path = run / "environment.json"
    values = json.loads(path.read_text())
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (values[section] if section else values)[name.replace("_", "-")] = value
    path.write_text(json.dumps(values))


def test_what_changed_is_named_and_refused_or_told(
    tiny_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config({**QUIET, "train.epochs": 3})
    run = tmp_path / "run"
    interrupt_after(2, signal.SIGTERM, monkeypatch)
    with pytest.raises(signals.Interrupted):
        train.train_and_evaluate(config, run)
    whole = (run / "environment.json").read_text()
    _edit(run, packages__jax="0.1", cores=77)
    interrupt_after(2, signal.SIGTERM, monkeypatch)
    with pytest.raises(
        RunError, match=r"(?s)cores: was 77.*packages.jax: was '0.1'.*--allow-environment-change"
    ) as error:
        train.train_and_evaluate(config, run)
    assert "commit" not in str(error.value)
    capsys.readouterr()
    with pytest.raises(signals.Interrupted):
        train.train_and_evaluate(config, run, allow_environment_change=True)
    assert "note: since the run began, cores: was 77" in capsys.readouterr().out
    now = json.loads((run / "environment.json").read_text())
    assert [(e["cores"], e["packages"]["jax"]) for e in now["earlier"]] == [(77, "0.1")]
    assert {k: v for k, v in now.items() if k != "earlier"} == json.loads(whole)
    # Changes that cannot affect numbers are only reported.
    _edit(run, commit="f" * 40, packages__orbax_checkpoint="0.1")
    monkeypatch.undo()
    train.train_and_evaluate(config, run)
    said = capsys.readouterr().out
    assert "commit: was 'ffff" in said
    assert "packages.orbax-checkpoint: was '0.1'" in said
    assert "cores" not in said
    assert json.loads((run / "environment.json").read_text())["earlier"] == now["earlier"]


def test_a_difference_is_decisive_or_not() -> None:
    then = {"cores": 2, "packages": {"jax": "1", "orbax-checkpoint": "1"}, "command": ["a"]}
    now = {"cores": 2, "packages": {"jax": "2", "orbax-checkpoint": "2"}, "command": ["b"]}
    changes = provenance.differences(then, now)
    assert changes == {
        "packages.jax": "packages.jax: was '1', is now '2'",
        "packages.orbax-checkpoint": "packages.orbax-checkpoint: was '1', is now '2'",
    }
    assert [key for key in changes if provenance.is_decisive(key)] == ["packages.jax"]


@pytest.mark.parametrize(
    ("name", "value", "was"),
    [
        ("default_prng_impl", "rbg", "'threefry2x32'"),
        ("threefry_partitionable", False, "True"),
        ("default_matmul_precision", "bfloat16", "None"),
        ("random_seed_offset", 5, "0"),
    ],
)
def test_settings_of_jax_are_decisive(name: str, value: Any, was: str) -> None:
    before = provenance.here([])
    jax.config.update(f"jax_{name}", value)
    try:
        now = provenance.here([])
    finally:
        jax.config.update(f"jax_{name}", before["jax_settings"][name])
    schema.check(now, record_types.Environment)
    key = f"jax_settings.{name}"
    said = {key: f"{key}: was {was}, is now {value!r}"}
    assert provenance.differences(before, now) == said
    assert provenance.is_decisive(key)
    # Records of older versions do not have the settings.
    older = {k: v for k, v in before.items() if k != "jax_settings"}
    assert provenance.differences(older, before) == {}
    assert provenance.differences(older, now) == said
