import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.errors import RunError
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig


def _events(folder: Path) -> Any:
    """{name: [(step, value)]}, parsed by hand from records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.iterdir()
    content = path.read_bytes()
    found: dict[str, Any] = {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[12 + length + 4 :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_event_files_hold_the_metrics_and_hold_them_once_after_a_resume(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    def config(stop_after: Any) -> Any:
        return tiny_config(log__tensorboard=True, log__every_steps=3, train__stop_after=stop_after)

    train.train_and_evaluate(config(1), tmp_path)
    # As if the run had been killed after the first epoch.
    (tmp_path / "result.json").unlink()
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"stop_after": 1', '"stop_after": 2'))
    train.train_and_evaluate(config(2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    events = _events(tmp_path / "tensorboard")
    assert set(events) == {
        "loss/step", "loss/training", "loss/validation", "validation/exact_match", "validation/cer",
    }  # fmt: skip
    for key, name in (("step_loss", "loss/step"), ("val_loss", "loss/validation")):
        expected = [(line["step"], pytest.approx(line[key])) for line in lines if key in line]
        assert events[name] == expected
    assert len(events["loss/validation"]) == 2


def test_without_the_package_the_run_says_what_to_install(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(RunError, match=r"crnn-jax\[tensorboard\]"):
        train.train_and_evaluate(tiny_config(log__tensorboard=True), tmp_path)
