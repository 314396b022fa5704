"""The cells of a sweep as jobs of a Slurm cluster, with submitit.

Jobs are submitted as arrays. The options are those of submitit that are numbers or words, with or
without `slurm_` before them: partition, timeout_min (of a job), cpus_per_task, gpus_per_node,
mem_gb, account, qos, constraint, ... A job that is preempted, or at its limit, saves its run and is
submitted again.

With `cluster=local`, submitit starts processes of this machine instead.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import ConfigError, brief
from crnn_jax.runs.launch import Job, Process, Task
from crnn_jax.runtime import files

_MOST = 1000  # jobs of an array; Slurm's default limit is 1001
_TIMEOUTS = 10**6  # timeouts of a job before it counts as failed
_TIMEOUT = 60.0  # seconds for stopped jobs to save their runs
_PERIOD = 30.0  # seconds between two heartbeats of a launcher
_SILENCE = 300.0  # seconds without a heartbeat after which the launcher counts as gone
_PLAIN = ("timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "name")


def make(jobs: int, folder: Path, options: Mapping[str, str]) -> Slurm:
    """Returns a launcher; for the arguments see `launch.make`.

    Raises:
      ConfigError: an option is wrong.
    """
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
    except Exception as error:  # submitit has no error class for wrong parameters
        raise ConfigError(f"--launcher: {brief(error)}") from error
    return Slurm(executor, jobs if cluster == "local" else _MOST)


def _value(text: str) -> int | float | bool | str:
    """Converts a number, true or false. Others are names, such as 007, inf and 1_000."""
    if text in ("true", "false"):
        return text == "true"
    if not re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text):
        return text
    return float(text) if "." in text else int(text)


class Training:
    """What a job runs. submitit stores it in a file, and calls `checkpoint` before it ends the job.

    Slurm and submitit have no signal that makes a job save and end for good. So a job also ends
    when the file `stop` appears. A queued job does not start if the launcher is gone, because the
    user may have started another launcher, or none on purpose.
    """

    def __init__(self, task: Task, stop: Path, alive: Path):
        self.task, self.stop, self.alive = task, stop, alive
        self.process: Process | None = None

    def __call__(self) -> int:
        if self.stop.exists():
            return 1
        if _age(self.alive) > _SILENCE:
            print(f"the launcher is gone: it has not touched {self.alive} for {_SILENCE:.0f} s")
            return 1
        self.process = Process(self.task)
        while (status := self.process.poll()) is None:
            time.sleep(0.5)
            if self.stop.exists():
                self.process.stop()
                return self.process.wait()
        return status

    def checkpoint(self) -> Any:
        """Stops the training after a save, and returns the job to submit again."""
        import submitit

        if self.process:
            self.process.stop()
            self.process.wait()
        return submitit.helpers.DelayedSubmission(Training(self.task, self.stop, self.alive))


class Slurm:
    """A launcher that submits jobs."""

    is_here = False

    def __init__(self, executor: Any, slots: int):
        self.slots = slots
        self._executor = executor
        name, folder = uuid.uuid4().hex, Path(executor.folder).absolute()
        self._stop, self._alive = folder / f"stop-{name}", folder / f"alive-{name}"
        self._closed = threading.Event()

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Job]:
        if not self._alive.exists():
            files.make_folder(self._alive.parent)
            self._alive.touch()
            threading.Thread(target=self._live, daemon=True).start()
        try:
            with self._executor.batch():
                jobs = {
                    slot: self._executor.submit(Training(task, self._stop, self._alive))
                    for slot, task in tasks.items()
                }
        except Exception as error:  # submitit and sbatch refuse in many ways
            raise ConfigError(f"the jobs cannot be submitted: {brief(error)}") from error
        return {slot: _Submitted(job, self._stop) for slot, job in jobs.items()}

    def close(self) -> None:
        self._closed.set()

    def _live(self) -> None:
        while not self._closed.wait(_PERIOD):
            with contextlib.suppress(OSError):  # a full disk; the next time may succeed
                self._alive.touch()


def _age(file: Path) -> float:
    """Returns the seconds since a file was touched, by the clock of its file system."""
    now = file.with_name(f"now-{uuid.uuid4().hex}")
    try:
        now.touch()
        return now.stat().st_mtime - file.stat().st_mtime
    except OSError:
        return 0.0  # a full disk must not stop a job
    finally:
        with contextlib.suppress(OSError):
            now.unlink()


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
        end = self._stop.stat().st_mtime + _TIMEOUT  # for all jobs that were stopped together
        while time.time() < end and not self._job.done(force_check=True):
            time.sleep(1)
        self._job.cancel(check=False)
