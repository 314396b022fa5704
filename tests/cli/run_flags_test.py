"""The flags of run.py that only matter on a GPU or on several hosts."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from absl import flags
from absl.testing import flagsaver

from crnn_jax import runtime
from crnn_jax.errors import CrnnError, DeviceError
from crnn_jax.runs import sweep
from crnn_jax.runtime import hosts, signals, supervisor
from tests.helpers.command_line import ROOT

# ml_collections loads a config file with an old function of Python.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


@pytest.fixture
def program() -> Iterator[ModuleType]:
    """The module run.py, whose flags are as before after the test."""
    module = importlib.import_module("run")
    with flagsaver.flagsaver():
        yield module
    flags.FLAGS.unparse_flags()


def test_together_is_the_number_of_cells_that_share_a_process(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(sweep, "run", lambda grid, *rest: calls.append((grid.cells(), *rest)))
    config = f"--config={ROOT}/experiments/ablations.py"
    program.parse_flags(["run.py", config, f"--workdir={tmp_path}", "--together=3", "--jobs=2"])
    program.main([])
    ((cells, workdir, jobs, _, together, launcher, _),) = calls
    assert (workdir, jobs, together, launcher) == (tmp_path, 2, 3, "local")
    assert len(cells) > 1


@pytest.mark.parametrize("option", ["--config.seed=0", "--config.data.fold=0"])
def test_a_seed_or_fold_for_a_sweep_is_refused_even_if_it_is_the_default(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    argv = ["run.py", f"--config={ROOT}/experiments/ablations.py", f"--workdir={tmp_path}", option]
    monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks there for the keys
    program.parse_flags(argv)
    with pytest.raises(CrnnError, match=r"--config\.grid\.(seeds|folds)='\(0,\)'"):
        program.main([])


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (["--distributed"], hosts.Address()),
        (
            ["--coordinator=here:1234", "--processes=2", "--process=1"],
            hosts.Address("here:1234", 2, 1),
        ),
    ],
)
def test_the_address_and_the_time_to_wait_are_passed_on(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    address: hosts.Address,
) -> None:
    calls: list[Any] = []

    def join(*given: Any) -> None:
        calls.append(given)
        raise DeviceError("the others are missing")

    monkeypatch.setattr(hosts, "join", join)
    monkeypatch.setattr(supervisor, "is_child", lambda: True)
    monkeypatch.setattr(signals, "follow_input", lambda: None)
    monkeypatch.setattr(runtime, "configure", lambda *_: None)
    config = f"--config={ROOT}/experiments/tiny.py"
    workdir = tmp_path / "run"
    program.parse_flags(["run.py", config, f"--workdir={workdir}", "--join_timeout=7", *options])
    with pytest.raises(DeviceError, match="the others are missing"):
        program.main([])
    assert calls == [(address, 7)]
    assert not workdir.exists()


@pytest.mark.parametrize("option", ["--jobs=4", "--together=3"])
def test_options_of_sweeps_are_refused_for_one_run(
    program: ModuleType, tmp_path: Path, option: str
) -> None:
    config = f"--config={ROOT}/experiments/tiny.py"
    program.parse_flags(["run.py", config, f"--workdir={tmp_path}", option])
    with pytest.raises(CrnnError, match=f"{option[:6]}.* is for sweeps"):
        program.main([])


@pytest.mark.parametrize(
    "arguments", [["--config.data.width=auto"], ["--config.data.width", "auto"]]
)
def test_an_automatic_width_can_be_written_in_both_ways(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    argv = ["run.py", f"--config={ROOT}/experiments/tiny.py", *arguments]
    monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks there for the keys
    program.parse_flags(argv)
    assert flags.FLAGS["config"].value.data.width == 0


def test_an_option_of_a_launcher_needs_its_equals_sign(program: ModuleType) -> None:
    config = f"--config={ROOT}/experiments/ablations.py"
    with pytest.raises(CrnnError, match=r"write --launcher\.partition=VALUE"):
        program.parse_flags(["run.py", config, "--launcher.partition", "gpu"])
