"""The cells of a sweep as tasks of a Ray cluster.

Options: `address` of the cluster (without it, Ray starts one on this machine), `cpus` and `gpus` of
a task (1 and 0). Ray starts a task again if its node fails; the task then continues the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax.errors import ConfigError, brief
from crnn_jax.runs.launch import Job, Process, Task

_KEYS = ("address", "cpus", "gpus")


def make(jobs: int, folder: Path, options: Mapping[str, str]) -> Ray:
    """Connects to a Ray cluster; for the arguments see `launch.make`.

    Raises:
      ConfigError: an option is wrong, or the cluster cannot be reached.
    """
    import ray

    if unknown := sorted(set(options) - set(_KEYS)):
        raise ConfigError(
            f"--launcher.{unknown[0]}: the launcher ray has the options {', '.join(_KEYS)}"
        )
    numbers = []
    for key, usual in (("cpus", "1"), ("gpus", "0")):
        try:
            numbers.append(float(options.get(key, usual)))
        except ValueError as error:
            raise ConfigError(f"--launcher.{key} must be a number") from error
    address = options.get("address")
    try:
        # Without an address, each job needs its share of the cores, whether they exist or not.
        here = {} if address else {"num_cpus": max(1, round(jobs * numbers[0]))}
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--launcher.address: {brief(error)}") from error
    return Ray(jobs, *numbers)


class Ray:
    """A launcher that hands tasks to Ray."""

    is_here = False

    def __init__(self, jobs: int, cpus: float, gpus: float):
        import ray

        self.slots = jobs
        self._run = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)(_run)

    def start(self, tasks: Mapping[int, Task]) -> Mapping[int, Job]:
        return {slot: _Remote(self._run.remote(task)) for slot, task in tasks.items()}

    def close(self) -> None:
        import ray

        ray.shutdown()


def _run(task: Task) -> int:
    """Runs on a node. Canceling a task raises KeyboardInterrupt here."""
    return Process(task).run()


class _Remote:
    def __init__(self, reference: Any):
        self._reference = reference

    def poll(self) -> int | None:
        import ray

        done, _ = ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return int(ray.get(self._reference))
        except ray.exceptions.RayError:  # canceled, or failed for good
            return 1

    def stop(self) -> None:
        import ray

        ray.cancel(self._reference)

    def wait(self) -> None:
        import ray

        ray.wait([self._reference])
