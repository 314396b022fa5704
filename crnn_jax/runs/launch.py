"""Where the processes of a sweep run: here, on a Slurm cluster, or on a Ray cluster.

A launcher starts the command that trains some cells, anywhere that the directory of the sweep can
be written. The command is safe to repeat: it continues from the run directories, and a lock keeps
out a second process. So a cell that is preempted, or whose node fails, is started again.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from crnn_jax.errors import ConfigError
from crnn_jax.runtime import files

NAMES = ("local", "slurm", "ray")


class Task(NamedTuple):
    """A command, the folder to run it in, and the file that its output is appended to."""

    command: Sequence[str]
    folder: Path
    log: Path


class Job(Protocol):
    """A task that was started."""

    def poll(self) -> int | None:
        """Returns the exit status, or None while the task waits or runs."""

    def stop(self) -> None:
        """Tells the task to save and stop."""

    def wait(self) -> object:
        """Waits until a stopped task has ended."""


class Launcher(Protocol):
    """Starts tasks."""

    slots: int  # tasks that are started before one of them has ended
    is_here: bool  # tasks end with this process

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Job]:
        """Starts a task in each of some slots."""

    def close(self) -> None:
        """Releases the resources of the launcher."""


def make(name: str, jobs: int, folder: Path, options: Mapping[str, str]) -> Launcher:
    """Returns a launcher.

    Args:
      name: one of NAMES.
      jobs: tasks that run at a time.
      folder: the directory of the sweep.
      options: options of the launcher; see its class or module.

    Raises:
      ConfigError: an option does not exist or has a wrong value, or a package is missing.
    """
    if name == "local":
        if options:
            raise ConfigError(
                f"--launcher.{min(options)} is an option of a cluster; add --launcher slurm or ray"
            )
        return Local(jobs)
    module = importlib.import_module(f"crnn_jax.runs.launch_{name}")
    try:
        launcher: Launcher = module.make(jobs, folder, options)
    except ImportError as error:
        raise ConfigError(f"{error}; install it: pip install 'crnn-jax[{name}]'") from error
    return launcher


class Process:
    """A process of this machine, which saves and stops when this process ends."""

    def __init__(self, task: Task):
        with files.opened(task.log) as output:
            self._process = subprocess.Popen(
                [*task.command, "--follow-input"],
                cwd=task.folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def poll(self) -> int | None:
        status = self._process.poll()
        if status is not None:
            self._close()
        return status

    def stop(self) -> None:
        self._process.terminate()
        if hasattr(signal, "SIGCONT"):  # a suspended process does not receive SIGTERM
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends the process at once. It does not save."""
        self._process.kill()

    def wait(self) -> int:
        """Waits for the end and returns the exit status. A signal handler may call it, too."""
        # Popen.wait holds a lock while it waits, at which a second call would wait forever.
        while (status := self.poll()) is None:
            time.sleep(0.05)
        return status

    def run(self) -> int:
        """Like `wait`, but an exception stops the process."""
        try:
            return self.wait()
        finally:
            if self.poll() is None:
                self.stop()
                self.wait()

    def _close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()


class Local:
    """Processes of this machine, each on its share of the cores.

    All have the same number of cores, because this number can change how sums are rounded, and a
    run may continue in another slot than the one in which it was started.
    """

    is_here = True

    def __init__(self, jobs: int):
        self.slots = jobs
        has_affinity = hasattr(os, "sched_getaffinity")
        cores = sorted(os.sched_getaffinity(0)) if has_affinity else []
        share = max(len(cores) // jobs, 1)
        self._cores = [
            {cores[(slot * share + i) % len(cores)] for i in range(share)} if cores else set()
            for slot in range(jobs)
        ]

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Process]:
        started: dict[int, Process] = {}
        try:
            for slot, task in tasks.items():
                started[slot] = self._started(slot, task)
        except BaseException:
            for process in started.values():
                process.stop()
                process.wait()
            raise
        return started

    def _started(self, slot: int, task: Task) -> Process:
        process = Process(task)
        if cores := self._cores[slot]:
            # Set before the child starts threads: the affinity decides the size of its pools.
            os.sched_setaffinity(process.pid, cores)
        return process

    def close(self) -> None:
        pass
