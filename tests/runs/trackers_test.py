import json
import sqlite3
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.errors import RunError
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig

# Metrics by name: [(step, value)].
Found = dict[str, list[tuple[int, float]]]


def _tensorboard(folder: Path) -> Found:
    """Reads an event file by hand: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = (folder / "tensorboard").iterdir()
    content = path.read_bytes()
    found: Found = {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[12 + length + 4 :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def _level_db_records(content: bytes) -> list[bytes]:
    """Splits a log in LevelDB's format, whose first 7 bytes are W&B's.

    A block of 32 KiB has chunks of checksum, length, kind (1 whole, 2 first, 3 middle, 4 last) and
    data. A rest of fewer than 7 bytes is empty.
    """
    records, place = [b""], 7
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        records[-1] += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            records.append(b"")
    return records[:-1]


def _wandb(folder: Path) -> Found:
    """Reads the log of an offline run, which `wandb sync` would send."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    found: Found = {}
    for content in _level_db_records(path.read_bytes()):
        record = Record.FromString(content)
        items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                step = record.history.step.num
                found.setdefault(name, []).append((step, json.loads(value)))
    return found


def _mlflow(folder: Path) -> Found:
    rows = sqlite3.connect(folder / "mlflow.db").execute(
        "select key, step, value from metrics join runs using (run_uuid) "
        "where lifecycle_stage = 'active' order by step"
    )
    found: Found = {}
    for name, step, value in rows:
        found.setdefault(name, []).append((step, value))
    return found


def _trackio(folder: Path) -> Found:
    """Reads the newest run of the database."""
    import trackio.utils

    rows = sqlite3.connect(Path(trackio.utils.TRACKIO_DIR) / "crnn-jax.db").execute(
        "select step, metrics from metrics where run_id = (select run_id from configs order by id "
        "desc limit 1) order by step"
    )
    found: Found = {}
    for step, values in rows:
        for name, value in json.loads(values).items():
            found.setdefault(name, []).append((step, value))
    return found


@pytest.mark.filterwarnings("default")  # inside the packages
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("tensorboard", _tensorboard),
        ("wandb", _wandb),
        ("mlflow", _mlflow),
        ("trackio", _trackio),
    ],
)
def test_a_tracker_has_the_metrics_and_has_them_once_after_a_resume(
    tiny_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    read: Any,
) -> None:
    pytest.importorskip("tensorboardX" if name == "tensorboard" else name)
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)

    def config(stop_after: Any) -> Any:
        return tiny_config(log__trackers=(name,), log__every_steps=3, train__stop_after=stop_after)

    train.train_and_evaluate(config(1), tmp_path)
    # As if the run had been killed after the first epoch.
    (tmp_path / "result.json").unlink()
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"stop_after": 1', '"stop_after": 2'))
    train.train_and_evaluate(config(2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = read(tmp_path)
    assert set(found) == {
        "loss/step", "loss/training", "loss/validation", "validation/exact_match", "validation/cer",
    }  # fmt: skip
    for key, metric in (("step_loss", "loss/step"), ("val_loss", "loss/validation")):
        expected = [(line["step"], pytest.approx(line[key])) for line in lines if key in line]
        assert found[metric] == expected
    assert len(found["loss/validation"]) == 2
    assert "failed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_without_the_package_the_run_says_what_to_install(
    tiny_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunError, match=rf"crnn-jax\[{name}\]"):
        train.train_and_evaluate(tiny_config(log__trackers=(name,)), tmp_path)
    assert not (tmp_path / "config.json").exists()


class _Failing(types.ModuleType):
    """A tracker that keeps its calls and metrics, and fails in one of its methods."""

    def __init__(self, fails: str):
        super().__init__("trackio")
        self.fails, self.calls = fails, list[str]()
        self.found: Found = {}

    def init(self, **_: Any) -> Any:
        self._call("init")
        return self

    def log(self, values: Any, step: int) -> None:
        self._call("log")
        for name, value in values.items():
            self.found.setdefault(name, []).append((step, value))

    def finish(self) -> None:
        self._call("finish")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise OSError("the disk of the tracker is full")


@pytest.mark.filterwarnings("default")  # inside tensorboardX
@pytest.mark.parametrize(
    ("fails", "calls"),
    # Two epochs of five steps: a line after the steps 3, 6 and 9, and after each epoch.
    [
        ("init", ["init"]),
        ("log", ["init", "log"]),
        ("finish", ["init", *["log"] * 5, "finish"]),
    ],
)
def test_a_tracker_that_fails_costs_neither_the_run_nor_another_tracker(
    tiny_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: str,
    calls: list[str],
) -> None:
    pytest.importorskip("tensorboardX")
    fake = _Failing(fails)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    config = tiny_config(
        log__trackers=("trackio", "tensorboard"), log__every_steps=3, train__stop_after=2,
        train__batch_size=8,
    )  # fmt: skip
    assert train.train_and_evaluate(config, tmp_path).epochs_run == 2
    assert fake.calls == calls
    found = _tensorboard(tmp_path)
    assert [step for step, _ in found["loss/step"]] == [3, 6, 9]
    assert [step for step, _ in found["loss/validation"]] == [5, 10]
    if fails == "finish":
        same = {name: [(step, pytest.approx(value)) for step, value in rows]
                for name, rows in fake.found.items()}  # fmt: skip
        assert found == same
    said = capsys.readouterr().out
    assert said.count("note: trackio failed and gets no more metrics") == 1
    assert "OSError: the disk of the tracker is full" in said
