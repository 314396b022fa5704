"""Training from Python: `train` returns a `Trained` run."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.inference.recognizer import Recognizer, load
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training.train import train_and_evaluate


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
      workdir: the run directory.
      result: the content of result.json: scores of the validation part.
    """

    workdir: Path
    result: Result

    @property
    def config(self) -> Config:
        """The config of the run."""
        return RunDir(self.workdir).config()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One dict for each epoch, with the same keys, as for `pandas.DataFrame(run.metrics)`."""
        return [dict(line) for line in RunDir(self.workdir).epochs()]

    @functools.cached_property
    def reader(self) -> Recognizer:
        """The reader with the best weights."""
        return load(self.workdir)


def train(config: config_lib.Changes, workdir: str | os.PathLike[str]) -> Trained:
    """Trains one run. Continues an interrupted run in `workdir`, and only loads a finished one.

    For example::

        run = crnn_jax.train({"data.dir": "my_captchas", "train.epochs": 10}, "runs/mine")
        run.result.exact_match, run.metrics[-1]["loss"], run.reader.predict("image.png")

    Args:
      config: the config of an experiment, or changes to the base recipe by dotted key; see
        `config.from_changes`.
      workdir: the run directory.

    Raises:
      ConfigError: a key does not exist or has a wrong value.
      CrnnError: see `train_and_evaluate`.
    """
    result = train_and_evaluate(config_lib.from_changes(config), workdir)
    return Trained(Path(workdir), result)
