"""Checks that the processes of a run on several hosts do the same."""

from __future__ import annotations

from crnn_jax import config as config_lib
from crnn_jax.config.data_keys import NO_EFFECT_ON_RESULTS
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import hosts
from crnn_jax.training.context import TrainContext


def check(context: TrainContext, num_runs: int) -> None:
    """Checks that the processes of a run on several hosts can train it, and have the same data.

    Raises:
      ConfigError: several runs, or unlabeled images, cannot be trained by several processes.
      CrnnError: the config or the data differ between the processes.
    """
    if hosts.count() == 1:
        return
    if num_runs > 1:
        raise ConfigError(
            "several processes train one run, not several together; start one command for each run"
        )
    if len(context.split.unlabeled):
        raise ConfigError(
            "data.unlabeled: a run on several processes cannot use unlabeled images; train it in "
            "one process"
        )
    same = "all processes need the same package versions, --config and data"
    keys = config_lib.flatten(config_lib.to_dict(context.config))
    keys = {key: value for key, value in keys.items() if key not in NO_EFFECT_ON_RESULTS}
    hosts.agree({**keys, "digest of the data": context.data.fingerprint}, same)
    hosts.agree(
        {"whether images are read from the disk": context.records is not None},
        "set data.memory_limit, so that all processes do the same",
    )
