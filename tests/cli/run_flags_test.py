"""The flags of run.py that only matter on a GPU or on several hosts."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from absl import flags
from absl.testing import flagsaver

from crnn_jax import runtime
from crnn_jax.errors import DeviceError
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
