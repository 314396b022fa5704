"""One writer for a run directory."""

import os
import platform
import subprocess
import sys

import pytest

from crnn_jax import config as config_lib
from crnn_jax import dataset, grid, lock, record, train
from crnn_jax.errors import RunError

HOLD = """
import sys, pathlib
from crnn_jax import lock
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path, tiny_config):
    run = tmp_path / "run"
    config = tiny_config()
    record.Record(run).open(dataset.resolve(config))  # a run directory, and nothing trained there
    with _holder(run) as process:
        who = f"process {process.pid} on {platform.node()}"
        with pytest.raises(RunError, match=rf"{run} is in use by {who}; .*--workdir"):
            train.train_and_evaluate(config, run)
        cells = grid.Grid(config_lib.to_dict(config), {"base": {}}, (0,), (0,))
        with pytest.raises(RunError, match=who):
            grid.run(cells, run, 1)
        assert not (run / "environment.json").exists()  # it wrote nothing
        assert lock.is_held(run)
        process.kill()
    assert not lock.is_held(run)
    assert not lock.is_held(tmp_path / "nowhere")
    with lock.hold(run):  # a dead process holds nothing
        assert (run / lock.FILE).read_text() == f"process {os.getpid()} on {platform.node()}\n"


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/run/lock cannot be written"),
        lock.hold(tmp_path / "file" / "run"),
    ):
        pass
