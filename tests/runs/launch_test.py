"""Sweeps whose runs are jobs of submitit, with its executor for one machine, or Ray tasks."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crnn_jax.errors import ConfigError
from crnn_jax.runs import grid as grids
from crnn_jax.runs import launch, launch_slurm, sweep
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import lock
from crnn_jax.training import train
from experiments import tiny
from tests.helpers.quiet import BARE


@pytest.fixture
def grid(captchas: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., grids.Grid]:
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # as in this process

    def make(epochs: int, **variants: Any) -> grids.Grid:
        values = tiny.get_config()
        values.data.dir = os.fspath(captchas)
        values.train.epochs, values.train.patience = epochs, 0
        values.update_from_flattened_dict({**BARE, "model.lstm_units": (8,)})
        return grids.Grid(values.to_dict(), variants, seeds=(3,), folds=(0,))

    return make


def trained_here(made: grids.Grid, folder: Path) -> str:
    return train.train_and_evaluate(made.cells()[0].config, folder).params_sha256


def test_jobs_train_what_this_process_trains(
    grid: Callable[..., grids.Grid], tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    made = grid(1, base={}, broken={"data.dir": "/nowhere"})
    failed = sweep.run(made, tmp_path, 2, launcher="slurm", options={"cluster": "local"})
    assert [cell.variant for cell in failed] == ["broken"]
    note = (tmp_path / "broken" / "seed3-fold0" / sweep.FAILED).read_text()
    assert note.startswith("status 2\n")
    assert "/nowhere" in note
    result = RunDir(tmp_path / "base" / "seed3-fold0").result()
    assert result
    assert result.params_sha256 == trained_here(made, tmp_path / "here")


@pytest.mark.long
def test_a_preempted_job_is_submitted_again_and_loses_nothing(
    grid: Callable[..., grids.Grid], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    psutil = pytest.importorskip("psutil")
    made = grid(40, base={})
    metrics = tmp_path / "base" / "seed3-fold0" / "metrics.jsonl"
    jobs: list[Any] = []
    start = launch_slurm.Slurm.start

    def remembered(self: Any, tasks: Any) -> Any:
        found = start(self, tasks)
        jobs.extend(found.values())
        return found

    monkeypatch.setattr(launch_slurm.Slurm, "start", remembered)

    def preempt() -> None:
        while not metrics.exists() or b"val_loss" not in metrics.read_bytes():
            time.sleep(0.05)
        processes = psutil.Process(jobs[0]._job._process.pid).children(recursive=True)
        (job,) = (p for p in processes if "submitit.core._submit" in p.cmdline())
        job.send_signal(signal.SIGUSR2)  # as Slurm does, before it ends a job

    thread = threading.Thread(target=preempt)
    thread.start()
    assert sweep.run(made, tmp_path, 1, launcher="slurm", options={"cluster": "local"}) == []
    thread.join()
    log = (metrics.parent / "log.txt").read_text()
    assert log.count("training images") == 2  # the run was started twice
    result = RunDir(metrics.parent).result()
    assert result
    assert result.params_sha256 == trained_here(made, tmp_path / "here")


@pytest.mark.long
def test_a_stopped_job_saves_its_run(grid: Callable[..., grids.Grid], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    made = grid(200, base={})
    cell = made.cells()[0]
    engine = launch.make("slurm", 1, tmp_path, {"cluster": "local"})
    (job,) = engine.start({0: sweep._task([cell], tmp_path, False)}).values()
    metrics = tmp_path / cell.path / "metrics.jsonl"
    while not metrics.exists() or b"val_loss" not in metrics.read_bytes():
        time.sleep(0.05)
    job.stop()
    job.wait()
    assert job.poll() not in (None, 0)
    assert "stopped by SIGTERM" in (tmp_path / cell.path / "log.txt").read_text()
    assert not lock.is_held(tmp_path / cell.path)
    # A job that waited in the queue until then does not start at all.
    (late,) = engine.start({0: sweep._task([cell], tmp_path, False)}).values()
    while (status := late.poll()) is None:
        time.sleep(0.05)
    assert status == 1


def test_a_job_does_not_start_without_its_launcher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Fake:
        def __init__(self, task: Any):
            started.append(task)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(launch_slurm, "Process", Fake)
    task: Any = "a task"
    alive = tmp_path / "alive"
    job = launch_slurm.Training(task, tmp_path / "stop", alive)
    alive.touch()
    now = alive.stat().st_mtime
    os.utime(alive, (now - 200, now - 200))
    assert job() == 0
    os.utime(alive, (now - 400, now - 400))
    assert job() == 1
    assert started == ["a task"]
    assert "the launcher is gone" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "local",
            {"partition": "gpu"},
            r"--launcher\.partition is an option of a cluster; add",
        ),
        ("slurm", {"cluster": "moon"}, r"--launcher\.cluster must be slurm or local, not 'moon'"),
        ("slurm", {"cluster": "local", "timeout_min": "soon"}, r"--launcher: "),
        ("slurm", {"time": "01:00:00"}, r"--launcher\.time: write --launcher\.timeout_min"),
    ],
)
def test_a_wrong_option_is_named(
    name: str, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    if name == "slurm":
        pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match=message):
        launch.make(name, 1, tmp_path, options)


def test_options_are_those_of_submitit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    executor = submitit.SlurmExecutor
    monkeypatch.setattr(executor, "affinity", classmethod(lambda cls: 2))  # as with srun installed
    options = {
        "partition": "gpu", "timeout_min": "90", "gpus_per_node": "1", "mem_gb": "0.5",
        "account": "007", "qos": "inf", "constraint": "1_000", "use_srun": "false",
    }  # fmt: skip
    made: Any = launch.make("slurm", 7, tmp_path, options)
    parameters = made._executor._executor.parameters
    assert (parameters["partition"], parameters["time"]) == ("gpu", 90)
    assert (parameters["gpus_per_node"], parameters["mem"]) == (1, "512MB")
    assert parameters["array_parallelism"] == 7
    assert (parameters["account"], parameters["use_srun"]) == ("007", False)
    assert (parameters["qos"], parameters["constraint"]) == ("inf", "1_000")
    assert made.slots == 1000  # the queue of the cluster decides


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"submitit.*install it: pip install 'crnn-jax\[slurm\]'"):
        launch.make("slurm", 1, tmp_path, {})


@pytest.mark.long
# Ray forks this process, in which other tests have started jax. run.py does not import it.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tasks_of_ray_train_what_this_process_trains(
    grid: Callable[..., grids.Grid], tmp_path: Path
) -> None:
    """Two nodes; the one that trains is killed, and its task continues on the other."""
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    from ray.cluster_utils import Cluster

    made = grid(40, base={})
    metrics = tmp_path / "base" / "seed3-fold0" / "metrics.jsonl"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def kill() -> None:
        while not metrics.exists() or b"val_loss" not in metrics.read_bytes():
            time.sleep(0.05)
        (training,) = (
            process
            for process in psutil.process_iter(["cmdline"])
            if {"crnn_jax", "train", str(metrics.parent)} <= set(process.info["cmdline"] or ())
        )
        above = {process.pid for process in training.parents()}
        for node in nodes:
            if node.all_processes["raylet"][0].process.pid in above:
                cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=kill)
    thread.start()
    options = {"address": cluster.address}
    assert sweep.run(made, tmp_path, 1, launcher="ray", options=options) == []
    thread.join()
    cluster.shutdown()
    assert (metrics.parent / "log.txt").read_text().count("training images") == 2
    result = RunDir(metrics.parent).result()
    assert result
    assert result.params_sha256 == trained_here(made, tmp_path / "here")


@pytest.mark.parametrize(
    ("cores", "jobs", "shares"),
    [
        (8, 3, [{0, 1}, {2, 3}, {4, 5}]),
        (2, 3, [{0}, {1}, {0}]),
        (4, 1, [{0, 1, 2, 3}]),
        (4, 2, [{0, 1}, {2, 3}]),
    ],
)
def test_every_job_has_the_same_number_of_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int, shares: list[set[int]]
) -> None:
    """A run may continue in another slot, and the number of cores can change its sums."""
    found: dict[int, set[int]] = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, share: found.update({pid: set(share)}))
    monkeypatch.setattr(launch, "Process", lambda task: SimpleNamespace(pid=task))
    tasks: Any = {slot: slot for slot in range(jobs)}
    launch.Local(jobs).start(tasks)
    assert [found[slot] for slot in range(jobs)] == shares
