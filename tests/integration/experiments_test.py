"""Every file of experiments/, with a tiny model, for a few steps on one device and on two."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import config as config_lib
from crnn_jax.runs import grid as grids
from crnn_jax.runtime import cpu_devices
from crnn_jax.training import train
from experiments import tiny
from tests.helpers import looks
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE

NAMES = sorted(p.stem for p in Path("experiments").glob("*.py") if p.stem != "__init__")
# A folder, the general reader with its own model, and a reader that starts from another. The rest
# has the marker `long`: they differ in values only, and a step on two devices contains that on one.
ALWAYS = {("base", 2), ("adapt", 2), ("general", 2)}
_TINY = config_lib.flatten(tiny.get_config().to_dict())
_SIZES = ("data.width", "data.height", "model.conv_features", "model.dense_features",
          "train.eval_batch_size")  # fmt: skip
SMALL = {
    **{key: _TINY[key] for key in _SIZES},
    "model.lstm_units": (8,),  # one layer compiles faster
    "data.channels": 1,
    "data.count": 48,
    "data.num_folds": 0,
    "data.fold": 0,
    "data.train_size": 0,
    "data.test_size": 0,
    "model.norm": "",
    "model.pool": "",
    "optimizer.warmup_steps": 2,
    "train.batch_size": 16,
    "train.epochs": 1,
    "train.epochs_for_new_symbols": 0,
    "train.min_steps": 0,
    "train.min_steps_per_epoch": 0,
    "train.passes_per_epoch": 1,
    "data.min_val_size": 0,
    "log.every_steps": 1,
}


def small(name: str, captchas: Path, trained: Path, folder: Path) -> Any:
    """The config of the experiment, or of its first cell, at the size of a test."""
    values = importlib.import_module(f"experiments.{name}").get_config().to_dict()
    if "grid" in values:
        values = config_lib.to_dict(grids.from_dict(values).cells()[0].config)
    changes = dict(SMALL)
    if values["data"]["source"] == "stream":
        changes["data.val_fraction"] = 0.05
        changes["data.width"] = 80  # the wide generator's texts can need 19 time steps
        if values["data"]["style"] == "wide":  # with as many faces as wide_test.py: one program
            changes["data.style"] = looks.save_faces(folder)
    else:
        changes |= {"data.source": "folder", "data.dir": os.fspath(captchas)}
        changes["data.val_fraction"] = 0.1
    if values["train"]["init_from"]:
        changes["train.init_from"] = os.fspath(trained)
        changes["model.lstm_units"] = _TINY["model.lstm_units"]
    return config_lib.from_dict(config_lib.with_changes(values, changes))


def use_devices(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Splits every batch over `count` jax devices."""
    monkeypatch.setattr(cpu_devices, "parts", lambda batch_size, devices: min(count, devices))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param(name, count, marks=[] if (name, count) in ALWAYS else [pytest.mark.long])
        for name in NAMES
        for count in (1, 2)
    ],
)
def test_every_experiment_trains(
    name: Any,
    count: int,
    captchas: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_devices(monkeypatch, count)
    config = small(name, captchas, trained, tmp_path)
    workdir = tmp_path / "run"
    result = train.train_and_evaluate(config, workdir)
    on_stream = config.data.source == "stream"
    # 40 images: 4 validate. 48 of a stream: 5 % of them, at least one, validate.
    assert (result.num_train, result.num_val) == ((46, 2) if on_stream else (36, 4))
    assert result.epochs_run == 1
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3 + 1  # ceil(46 / 16) = ceil(36 / 16) = 3 steps, and the epoch


@pytest.mark.parametrize("source", ["folder", "stream"])
def test_a_run_on_two_devices_may_go_unread_for_longer_than_their_queue(
    source: str, tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device of the XLA CPU client runs 32 programs at a time; a 33rd step must not wait."""
    use_devices(monkeypatch, 2)
    changes = {"data.count": 48, "data.source": source, "train.batch_size": 2, "train.epochs": 3}
    config = tiny_config(
        {**BARE, **changes}, data__style=looks.save(tmp_path), log__every_steps=1000
    )
    assert train.prepare(config).devices.mesh.size == 2
    assert train.train_and_evaluate(config, tmp_path / "run").epochs_run == 3


def test_experiments_are_found() -> None:
    assert {"base", "fast", "few_labels", "synthetic_pretrain", "ablations"} <= set(NAMES)


def test_no_experiment_imports_jax() -> None:
    """run.py reads the config first and configures the runtime before jax is imported."""
    imports = "; ".join(f"import experiments.{name}" for name in NAMES)
    code = f"import sys; {imports}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
