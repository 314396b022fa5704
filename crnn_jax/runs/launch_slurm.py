"""The cells of a sweep as jobs of a Slurm cluster, by submitit.

Jobs are submitted as arrays. The options are those of submitit that are numbers or words, with or
without `slurm_` before them: partition, timeout_min (of a job), cpus_per_task, gpus_per_node,
mem_gb, account, qos, constraint, ... A job that is preempted, or at its limit, saves its run and is
submitted again.

With `cluster=local`, submitit starts processes of this machine instead.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import ConfigError, brief
from crnn_jax.runs.launch import Job, Process, Task

_MOST = 1000  # jobs of an array; Slurm's default limit is 1001
_TIMEOUTS = 10**6  # of a job before it counts as failed
_PATIENCE = 60.0  # seconds for stopped jobs to save their runs
_PLAIN = ("timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "name")


def make(jobs: int, folder: Path, options: Mapping[str, str]) -> Slurm:
    import submitit

    left = dict(options)
    cluster = left.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise ConfigError(f"--launcher.cluster must be slurm or local, not {cluster!r}")
    values: dict[str, Any] = {"name": "crnn-jax", "timeout_min": 24 * 60}
    if cluster == "slurm":
        values["slurm_array_parallelism"] = jobs
    if "time" in left:
        raise ConfigError("--launcher.time: write --launcher.timeout_min=MINUTES")
    for key, text in left.items():
        is_plain = key in _PLAIN or key.startswith("slurm_")
        values[key if is_plain else f"slurm_{key}"] = _value(text)
    try:
        executor = submitit.AutoExecutor(
            folder=folder / "jobs", cluster=cluster, slurm_max_num_timeout=_TIMEOUTS
        )
        executor.update_parameters(**values)
    except Exception as error:  # submitit has no class of its own for wrong parameters
        raise ConfigError(f"--launcher: {brief(error)}") from error
    return Slurm(executor, jobs if cluster == "local" else _MOST)


def _value(text: str) -> int | float | bool | str:
    """Converts a number, true or false. Numbers with leading zeros are names."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("0") and text != "0":
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


class Training:
    """What a job runs. submitit stores it in a file, and calls `checkpoint` before it ends the job.

    Slurm and submitit have no signal that makes a job save and end for good. So a job also ends
    when the file `stop` appears.
    """

    def __init__(self, task: Task, stop: Path):
        self.task, self.stop = task, stop
        self.process: Process | None = None

    def __call__(self) -> int:
        if self.stop.exists():
            return 1
        self.process = Process(self.task)
        while (status := self.process.poll()) is None:
            time.sleep(0.5)
            if self.stop.exists():
                self.process.stop()
                return self.process.wait()
        return status

    def checkpoint(self) -> Any:
        import submitit

        if self.process:
            self.process.stop()
            self.process.wait()
        return submitit.helpers.DelayedSubmission(Training(self.task, self.stop))


class Slurm:
    """A launcher that submits jobs."""

    is_here = False

    def __init__(self, executor: Any, slots: int):
        self.slots = slots
        self._executor = executor
        self._stop = Path(executor.folder).absolute() / f"stop-{uuid.uuid4().hex}"

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Job]:
        try:
            with self._executor.batch():
                jobs = {
                    slot: self._executor.submit(Training(task, self._stop))
                    for slot, task in tasks.items()
                }
        except Exception as error:  # submitit and sbatch refuse in many ways
            raise ConfigError(f"the jobs cannot be submitted: {brief(error)}") from error
        return {slot: _Submitted(job, self._stop) for slot, job in jobs.items()}

    def close(self) -> None:
        pass


class _Submitted:
    def __init__(self, job: Any, stop: Path):
        self._job, self._stop = job, stop

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        # A job that was canceled, or whose node failed, has no result.
        return self._job.result() if self._job.exception() is None else 1

    def stop(self) -> None:
        self._stop.touch()
        if self._job.state == "PENDING":
            self._job.cancel(check=False)

    def wait(self) -> None:
        end = self._stop.stat().st_mtime + _PATIENCE  # of all jobs that were stopped together
        while time.time() < end and not self._job.done(force_check=True):
            time.sleep(1)
        self._job.cancel(check=False)
