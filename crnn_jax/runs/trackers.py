"""Copies the metrics of a run to experiment trackers; their packages are imported nowhere else.

tensorboard   event files in RUN/tensorboard
wandb         Weights & Biases, offline unless WANDB_MODE is set; in RUN/wandb
mlflow        RUN/mlflow.db, or the server of MLFLOW_TRACKING_URI
trackio       the database that trackio chooses: see TRACKIO_DIR

Nothing is sent to a server unless the environment variables of a tracker ask for it. A tracker gets
what `metrics.jsonl` gets. A resumed run is logged from the start: in the run directory, the new log
replaces the old one; elsewhere, it is another run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from crnn_jax import config as config_lib
from crnn_jax.errors import RunError, brief
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files, held

# The files of each tracker in the run directory.
FILES: Mapping[str, str] = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow.db"}
# Turn off reports of usage and errors to the makers of the packages.
_SILENT: Mapping[str, str] = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
_PACKAGES: Mapping[str, str] = {"tensorboard": "tensorboardX"}  # if it has another name
_PROJECT = "crnn-jax"
_NAMES = {
    "step_loss": "loss/step",
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "exact_match": "validation/exact_match",
    "cer": "validation/cer",
}
_MOST_PARAMS = 100  # parameters in a request of MLflow


class Tracker(Protocol):
    """A run of an experiment tracker."""

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Adds the values of a step by name."""

    def close(self) -> None:
        """Writes everything to the disk or the server."""


@contextlib.contextmanager
def mirror(run: RunDir, names: Sequence[str]) -> Iterator[None]:
    """Copies the lines of `metrics.jsonl`, present and future, to the trackers `names`.

    If a tracker fails, a note says so, and the run goes on without it.

    Raises:
      RunError: a package is not installed, or the files of a tracker cannot be replaced.
    """
    if not names or not run.writes:
        yield
        return
    for variable, value in _SILENT.items():
        os.environ.setdefault(variable, value)
    for name in names:
        _require(name)
    trackers: dict[str, Tracker] = {}

    def open_tracker(name: str) -> None:
        trackers[name] = _OPEN[name](run)

    def add(values: Mapping[str, Any]) -> None:
        scalars = {name: values[key] for key, name in _NAMES.items() if key in values}
        for name, tracker in list(trackers.items()):
            if not _succeeds(name, functools.partial(tracker.add, scalars, values["step"])):
                del trackers[name]

    try:
        for name in dict.fromkeys(names):
            _succeeds(name, functools.partial(open_tracker, name))
        if run.metrics.stat().st_size:
            for line in run.metrics_lines():
                add(line)
        run.listeners.append(add)
        yield
    finally:
        run.listeners.clear()
        for name, tracker in trackers.items():
            _succeeds(name, tracker.close)


def _require(name: str) -> None:
    package = _PACKAGES.get(name, name)
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise RunError(
            f"log.trackers={name} needs {package}: pip install 'crnn-jax[{name}]'"
        ) from error


def _succeeds(name: str, call: Callable[[], None]) -> bool:
    """Calls a method of a tracker. Prints a note and returns False if it raises an error."""
    try:
        call()
    except RunError:  # the run directory cannot be used
        raise
    except Exception as error:
        print(
            f"note: {name} failed and gets no more metrics; metrics.jsonl has all of them. "
            f"{type(error).__name__}: {brief(error)}",
            flush=True,
        )
        return False
    return True


class _TensorBoard:
    def __init__(self, run: RunDir):
        import tensorboardX

        folder = held.anchored(files.below(run.workdir, FILES["tensorboard"]))
        files.remove(folder)  # left by an interrupted attempt; its lines are in metrics.jsonl
        self.writer = tensorboardX.SummaryWriter(str(folder))

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        if "loss/validation" in scalars:
            self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    def __init__(self, run: RunDir):
        import wandb

        files.remove(files.below(run.workdir, FILES["wandb"]))
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=_name(run),
            group=_group(run),
            dir=os.fspath(run.workdir.absolute()),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=_values(run),
            reinit="create_new",  # several runs can train in one process
            settings=wandb.Settings(silent=True, console="off"),
        )

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        self.run.log(dict(scalars), step=step)

    def close(self) -> None:
        self.run.finish()


class _Mlflow:
    def __init__(self, run: RunDir):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric = Metric
        path = files.below(run.workdir, FILES["mlflow"]).absolute()
        server = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(server or f"sqlite:///{path}")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        place = None if server else path.with_suffix("").as_uri()  # for artifacts; there are none
        if found := self.client.get_experiment_by_name(name):
            experiment = found.experiment_id
        else:
            experiment = self.client.create_experiment(name, artifact_location=place)
        if not server:  # MLflow keeps the file open in this process, so it cannot be removed
            for old in self.client.search_runs([experiment]):
                self.client.delete_run(old.info.run_id)
        tags = {"group": _group(run), "directory": os.fspath(run.workdir.absolute())}
        created = self.client.create_run(experiment, tags=tags, run_name=_name(run))
        self.id = created.info.run_id
        params = [Param(key, str(value)) for key, value in _values(run).items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self.client.log_batch(self.id, params=params[first : first + _MOST_PARAMS])

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(name, value, now, step) for name, value in scalars.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def close(self) -> None:
        self.client.set_terminated(self.id)


class _Trackio:
    def __init__(self, run: RunDir):
        import trackio

        self.run = trackio.init(
            project=_PROJECT,
            name=_name(run),
            group=_group(run),
            config=_values(run),
            embed=False,  # no page in a notebook
        )

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        self.run.log(dict(scalars), step=step)

    def close(self) -> None:
        self.run.finish()


_OPEN: Mapping[str, Callable[[RunDir], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}


def _name(run: RunDir) -> str:
    return run.workdir.absolute().name


def _group(run: RunDir) -> str:
    """Returns the last two folders above the run directory; in a sweep, the variant."""
    return "/".join(run.workdir.absolute().parent.parts[-2:])


def _values(run: RunDir) -> dict[str, Any]:
    """Returns the config by key."""
    return config_lib.flatten(config_lib.to_dict(run.config()))
