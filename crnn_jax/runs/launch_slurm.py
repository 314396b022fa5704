"""The cells of a sweep as jobs of a Slurm cluster, by submitit.

All jobs are submitted as one array. Options are submitit's, with or without `slurm_` before them:
partition, time, cpus_per_task, gpus_per_node, mem_gb, account, qos, ... `timeout_min` is the limit
of a job. A job that is preempted, or at its limit, saves its run and is submitted again.

With `cluster=local`, submitit starts processes of this machine instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import ConfigError, brief
from crnn_jax.runs.launch import Job, Process, Task

_MOST = 10_000  # jobs of an array
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
    for key, text in left.items():
        is_plain = key in _PLAIN or key.startswith("slurm_")
        values[key if is_plain else f"slurm_{key}"] = int(text) if text.isdecimal() else text
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster)
        executor.update_parameters(**values)
    except Exception as error:  # submitit has no class of its own for wrong parameters
        raise ConfigError(f"--launcher: {brief(error)}") from error
    return Slurm(executor, jobs if cluster == "local" else _MOST)


class Training:
    """What a job runs. submitit pickles it, and calls `checkpoint` before the job is ended."""

    def __init__(self, task: Task):
        self.task = task
        self.process: Process | None = None

    def __call__(self) -> int:
        self.process = Process(self.task)
        return self.process.run()

    def checkpoint(self) -> Any:
        import submitit

        if self.process:
            self.process.stop()
            self.process.wait()
        return submitit.helpers.DelayedSubmission(Training(self.task))


class Slurm:
    """A launcher that submits jobs."""

    is_here = False

    def __init__(self, executor: Any, slots: int):
        self.slots = slots
        self._executor = executor

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Job]:
        with self._executor.batch():
            jobs = {slot: self._executor.submit(Training(task)) for slot, task in tasks.items()}
        return {slot: _Submitted(job) for slot, job in jobs.items()}

    def close(self) -> None:
        pass


class _Submitted:
    def __init__(self, job: Any):
        self._job = job

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        # A job that was canceled, or whose node failed, has no result.
        return self._job.result() if self._job.exception() is None else 1

    def stop(self) -> None:
        self._job.cancel(check=False)

    def wait(self) -> None:
        self._job.wait()
