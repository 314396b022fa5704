"""Training a finished run again from its record, and finding where the two part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax import config as config_lib
from crnn_jax.errors import RunError
from crnn_jax.record import Record, Result

# What may differ between two runs whose numbers are the same.
_NOT_COMPARED = ("seconds",)
_ENVIRONMENT_NOT_COMPARED = ("command", "data")


class Comparison(NamedTuple):
    """Two runs of one config."""

    identical: bool  # the parameters, bit for bit
    parted: str | None  # the first place of the metrics in which they differ, in words
    environment: list[str]  # what differs in it, a line each

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


def again(run: str | os.PathLike[str], workdir: Path, data: str | None) -> Comparison:
    """Trains `run` once more, in `workdir`, and compares.

    Args:
      run: the record of a finished run; its checkpoints need not be there.
      workdir: a new directory, or one where the same reproduction was cut off.
      data: the folder of the data set, if it is not where the record says.

    Raises:
      RunError: the run is not finished, or its record is of another version of this package.
      DataError: the data are not there.
    """
    record = Record(run)
    if record.result() is None:
        raise RunError(f"{run} is not finished: there is nothing to compare with")
    config = record.config()
    if data is not None:
        config = config_lib.from_dict(
            config_lib.with_changes(config_lib.to_dict(config), {"data.dir": data})
        )
    from crnn_jax import train  # the comparison alone needs no jax

    train.train_and_evaluate(config, workdir)
    return compare(record, Record(workdir))


def compare(old: Record, new: Record) -> Comparison:
    """Compares two finished runs. RunError where one's files cannot be read."""
    results = [_result(record) for record in (old, new)]
    identical = results[0].params_sha256 == results[1].params_sha256
    parted = None if identical else _first_difference(_metrics(old), _metrics(new))
    if results[0].fingerprint != results[1].fingerprint:
        shorts = [result.fingerprint[:12] for result in results]
        parted = f"the data differ: fingerprint {shorts[0]} then, {shorts[1]} now"
    return Comparison(identical, parted, _environment_difference(old, new))


def _result(record: Record) -> Result:
    result = record.result()
    if result is None:
        raise RunError(f"{record.workdir} is not finished: there is nothing to compare with")
    return result


def _metrics(record: Record) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in record.metrics.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f"{record.metrics} cannot be read: {error}") from error


def _first_difference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str | None:
    # Steps are logged every so often, which may differ: what both have is compared.
    theirs = {(line["step"], "step_loss" in line): line for line in new}
    for line in old:
        other = theirs.get((line["step"], "step_loss" in line), line)
        for name, value in line.items():
            if name not in _NOT_COMPARED and other[name] != value:
                return (
                    f"they part at step {line['step']} (epoch {line['epoch']}), in {name}: "
                    f"{value!r} then, {other[name]!r} now"
                )
    if old[-1]["step"] != new[-1]["step"]:
        return f"the old run ended at step {old[-1]['step']}, the new one at {new[-1]['step']}"
    return None


def _environment_difference(old: Record, new: Record) -> list[str]:
    then, now = (
        config_lib.flatten({k: v for k, v in values.items() if k not in _ENVIRONMENT_NOT_COMPARED})
        for values in (old.environment(), new.environment())
    )
    return [
        f"{key}: {then.get(key, 'absent')!r} then, {now.get(key, 'absent')!r} now"
        for key in sorted(then | now)
        if then.get(key) != now.get(key)
    ]
