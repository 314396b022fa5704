"""Trains a finished run again from its record, and finds where the two runs first differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crnn_jax import config as config_lib
from crnn_jax import runtime
from crnn_jax.config import Config
from crnn_jax.errors import RunError, one_line
from crnn_jax.runs import provenance
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir, default_workdir

# Fields that differ even between identical runs.
_NOT_COMPARED = ("seconds",)


class Comparison(NamedTuple):
    """Two runs of one config."""

    identical: bool  # the parameters are bit-identical
    parted: str | None  # where the metrics first differ, in words
    environment: list[str]  # differences of the environments, a line each

    def __str__(self) -> str:
        if self.identical:
            lines = ["the parameters are bit-identical"]
        else:
            lines = ["the parameters differ", self.parted or "the metrics do not differ"]
        if self.environment:
            lines += ["the environment differs:", *(f"  {line}" for line in self.environment)]
        else:
            lines.append("the environment is the same")
        return "\n".join(lines)


def again(
    run: str | os.PathLike[str], workdir: str | os.PathLike[str] | None, data: str | None
) -> Comparison:
    """Trains `run` once more and compares the two runs.

    Args:
      run: the record of a finished run; its checkpoints are not needed.
      workdir: a new directory, or that of the same reproduction if it was interrupted; by default
        a directory below runs/.
      data: the folder of the data set, if it is not where the record says.

    Raises:
      RunError: before training, if the record is not finished, is damaged or was written by a
        different version of this package; if the data differ; or if the reproduction is already
        finished.
      DataError: the data do not exist.
    """
    record, result, config, new = prepare(run, workdir, data)
    runtime.configure(config.train.batch_size)
    from crnn_jax.data import sources  # the comparison alone needs no jax

    found = sources.expected_fingerprint(config.data, config_lib.num_steps(config))
    if found is None:
        raise RunError(f"the data set is not at {config.data.dir}; give its folder with --data")
    if found != result.fingerprint:
        raise RunError(
            f"{config.data.dir} has fingerprint {found[:12]}; the run was trained on "
            f"{one_line(result.data_name)}, {result.fingerprint[:12]}"
        )
    from crnn_jax.training import train

    train.train_and_evaluate(config, new.workdir)
    return compare(record, new)


def prepare(
    run: str | os.PathLike[str], workdir: str | os.PathLike[str] | None, data: str | None
) -> tuple[RunDir, Result, Config, RunDir]:
    """Reads the records for `again`. Returns the old run, its result, the config and the new run.

    Raises:
      RunError: as for `again`, except that the data are not read.
    """
    record = RunDir(run)
    result, _, there = _result(record), record.metrics_lines(), record.environment()
    try:
        config = record.config()
    except RunError as error:
        commit = there.get("commit") or "unknown"
        raise RunError(f"{error}; the run was made by commit {commit}") from error
    if data is not None:
        changed = config_lib.with_changes(config_lib.to_dict(config), {"data.dir": data})
        config = config_lib.from_dict(changed)
    new = RunDir(workdir or default_workdir("again", config))
    if new.result() is not None:
        raise RunError(f"{new.workdir} is finished; choose another --workdir, or remove it")
    return record, result, config, new


def compare(old: RunDir, new: RunDir) -> Comparison:
    """Compares two finished runs. RunError if files of a run cannot be read."""
    identical = _result(old).params_sha256 == _result(new).params_sha256
    parted = None if identical else _first_difference(old.metrics_lines(), new.metrics_lines())
    then, now = old.environment(), new.environment()
    changes = list(provenance.differences(then, now).values())
    starts = [there.get("data", {}).get("start_sha256", "") for there in (then, now)]
    if starts[0] != starts[1]:
        changes.append("train.init_from has other weights than in the old run")
    return Comparison(identical, parted, changes)


def _result(record: RunDir) -> Result:
    result = record.result()
    if result is None:
        raise RunError(f"{record.workdir} is not finished; only a finished run can be reproduced")
    return result


def _first_difference(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> str | None:
    # log.every_steps may differ, so only the steps that both runs have logged are compared.
    theirs = {(line.get("step"), "step_loss" in line): line for line in new}
    for line in old:
        other = theirs.get((line.get("step"), "step_loss" in line), line)
        for name, value in line.items():
            if name not in _NOT_COMPARED and other.get(name) != value:
                return (
                    f"the metrics first differ at step {line.get('step')} (epoch "
                    f"{line.get('epoch')}), in {name}: was {value!r}, is now {other.get(name)!r}"
                )
    ends = [lines[-1].get("step") for lines in (old, new)]
    if ends[0] != ends[1]:
        return f"the old run ended at step {ends[0]}, the new one at {ends[1]}"
    return None
