"""Writes a run directory for imported weights."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data import normalization, resolve
from crnn_jax.data.normalization import Normalization
from crnn_jax.inference import exported
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn
from crnn_jax.runs import provenance
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import staging
from crnn_jax.training.early_stopping import Stopping


def write(
    workdir: str | os.PathLike[str],
    config: Config,
    charset: Charset,
    moments: Normalization,
    params: Any,
    fingerprint: str,
    source: str,
    result: Result | None = None,
    temperature: float = 1.0,
    typical: Typical | None = None,
    width_by_image: bool = False,
) -> None:
    """Writes a run directory for evaluation, prediction and training with train.init_from.

    The directory is created complete or not at all; see `staging.directory`.

    Args:
      workdir: a new directory.
      config: the configuration of the run.
      charset: the symbols in the order of the model's classes; the blank is the last class.
      moments: how the model normalizes pixels.
      params: the parameters, a tree of arrays with the structure of the model of `config`.
      fingerprint: the fingerprint of the training data; '' if it is unknown.
      source: the file or folder of the weights, for the record.
      result: the result of the training, if it is known.
      temperature: divides the logits for confidences, if there is no result.
      typical: the energies of typical images, if there is no result.
      width_by_image: whether the input of each image has the width that fits its text.

    Raises:
      RunError: the directory exists and is not empty, it cannot be written, or the parameters do
        not fit the config's model.
    """
    normalization.check(moments, config.data.channels, source)
    model = crnn.build(config.model, charset, *moments)
    exported.check_params(params, model, config, source)
    meta = {
        "alphabet": charset.alphabet,
        "other_cases": charset.other_cases,
        **moments.to_record(),
        "fingerprint": fingerprint,
        **Stopping()._asdict(),
        "seconds": 0.0,
    }
    if not result:
        meta |= {"temperature": temperature, "typicality": list(typical) if typical else None}
    if width_by_image:
        meta["width_by_image"] = True
    with staging.directory(workdir) as partial:
        run = RunDir(partial)
        # Resolved, as training does, so that training refuses the directory.
        run.open(resolve.resolve(config))
        run.write_json("environment.json", {**provenance.here([]), "imported": source})
        if result:
            run.write_json("result.json", dataclasses.asdict(result))
        with Checkpoints(run.checkpoints) as checkpoints:
            checkpoints.save(0, params, None, meta, best_epoch=0)


def write_exported(
    workdir: str | os.PathLike[str], parsed: exported.Parsed, params: Any, source: str
) -> None:
    """Like `write`, for a model that this package exported."""
    write(
        workdir,
        config=parsed.config,
        charset=parsed.charset,
        moments=parsed.normalization,
        params=params,
        fingerprint=parsed.fingerprint,
        source=source,
        result=parsed.result,
        temperature=parsed.temperature,
        typical=parsed.typical,
        width_by_image=parsed.width_by_image,
    )
