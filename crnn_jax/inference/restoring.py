"""Restores a trained reader from a run directory or from the files of the package."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from crnn_jax import schema
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data import normalization
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import ConfigError, DamageError, RunError, quote
from crnn_jax.inference import exported, shipped
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn
from crnn_jax.runs import reader_file, record_types, run_dir
from crnn_jax.runs.result import Result

if TYPE_CHECKING:
    from crnn_jax.runs.checkpoint import Checkpoints


class Parts(NamedTuple):
    """The parts of a reader, as `Recognizer` takes them."""

    config: Config
    charset: Charset
    model: crnn.Model
    params: Any
    epoch: int
    fingerprint: str
    temperature: float
    width_by_image: bool = False
    typical: Typical | None = None
    result: Result | None = None  # of the run, if it is known


def check_types(run: Any, epoch: Any) -> None:
    """Raises RunError unless `run` can be a path or a name, and `epoch` a number or None."""
    if not isinstance(run, (str, os.PathLike)):
        raise RunError(f"a run is given by its path or its name, not {quote(run)}")
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer))):
        raise RunError(f"an epoch is a whole number, not {quote(epoch)}")


def shipped_parts(name: str, epoch: int | None) -> Parts:
    """Restores a reader that comes with the package. RunError: it cannot be used."""
    if epoch:
        raise RunError(f"{name} comes with the package and has no epochs; leave out --epoch")
    stored = shipped.read(name)
    model = crnn.build(stored.config.model, stored.charset, *stored.normalization)
    return Parts(
        stored.config,
        stored.charset,
        model,
        stored.params,
        0,
        fingerprint=stored.fingerprint,
        temperature=stored.temperature,
        width_by_image=stored.width_by_image,
        typical=stored.typical,
    )


def run_parts(directory: run_dir.RunDir, epoch: int | None) -> Parts:
    """Restores the reader of a run. RunError, DamageError: see `recognizer.load`."""
    run, config = directory.workdir, directory.config()
    result = directory.result()  # None while the run goes on, when nothing is calibrated yet
    if epoch is None and result is not None:
        found = reader_file.read(directory, result.params_sha256, config)
        if found is not None:
            meta, params = found
            source = f"the file {os.fspath(run / reader_file.FILE)}"
            parts = _without_params(meta, result.best_epoch, config, result, source)
            return _with_params(parts, jax.device_put(params), source)

    from crnn_jax.runs.checkpoint import Checkpoints  # imports Orbax, which takes long

    with Checkpoints(directory.checkpoints, read_only=True) as checkpoints:
        epochs = checkpoints.epochs()
        if not epochs:
            raise RunError(f"{run} holds no checkpoint yet; train it first")
        if epoch is not None and epoch not in epochs:
            raise RunError(f"{run} has no checkpoint of epoch {epoch}, only of {_list(epochs)}")
        try:
            if epoch is None:
                epoch = _best_epoch(checkpoints, epochs[-1])
            return _restore(checkpoints, epoch, config, result)
        except DamageError as error:
            others = [e for e in epochs if _is_intact(checkpoints, e, config)]
            offer = (
                f"; these epochs are intact; load one with --epoch: {_list(others)}"
                if others
                else ""
            )
            raise DamageError(f"{error}{offer}") from error


def exported_parts(folder: str | os.PathLike[str], epoch: int | None) -> Parts:
    """Restores the reader of a safetensors export. RunError: it cannot be used."""
    if epoch:
        raise RunError(f"{folder} is an export and has no epochs; leave out --epoch")
    stored, params = exported.read(folder)
    config, source = stored.config, os.fspath(folder)
    normalization.check(stored.normalization, config.data.channels, source)
    model = crnn.build(config.model, stored.charset, *stored.normalization)
    exported.check_params(params, model, config, source)
    return Parts(
        config,
        stored.charset,
        model,
        params,
        0,
        fingerprint=stored.fingerprint,
        temperature=stored.temperature,
        width_by_image=stored.width_by_image,
        typical=stored.typical,
        result=stored.result,
    )


def _restore(checkpoints: Checkpoints, epoch: int, config: Config, result: Result | None) -> Parts:
    """Restores the reader of a checkpoint."""
    source = f"the checkpoint {os.fspath(checkpoints.directory / str(epoch))}"
    parts = _without_params(checkpoints.meta(epoch), epoch, config, result, source)
    shapes = jax.eval_shape(lambda: crnn.init(parts.model, jax.random.key(0), config.data))
    return _with_params(parts, checkpoints.restore(epoch, {"params": shapes})["params"], source)


def _without_params(
    meta: Any, epoch: int, config: Config, result: Result | None, source: str
) -> Parts:
    """Returns a reader that lacks its parameters.

    Args:
      meta: the metadata of a checkpoint.
      epoch: its epoch.
      config: the config of the run.
      result: the result of the run, if it is finished.
      source: the checkpoint or the file, for error messages.
    """
    try:
        schema.check(meta, record_types.ReaderMeta)
        kind = config.data.direction, config.data.marks
        charset = Charset(meta["alphabet"], *kind, meta.get("other_cases", ""))
    except (ConfigError, schema.InvalidError) as error:
        raise DamageError(f"{source} is damaged: {error}") from error
    moments = Normalization.from_record(meta)
    normalization.check(moments, config.data.channels, source)
    temperature, energies = meta.get("temperature", 1.0), meta.get("typicality")
    # Only the best weights are calibrated. An import keeps the result of its original run.
    if result and epoch in (result.best_epoch, 0):
        temperature, energies = result.temperature, result.typicality
    return Parts(
        config,
        charset,
        crnn.build(config.model, charset, *moments),
        None,
        epoch,
        fingerprint=meta["fingerprint"],
        temperature=temperature,
        width_by_image=meta.get("width_by_image", False),
        typical=Typical(*energies) if energies else None,
        result=result,
    )


def _with_params(parts: Parts, params: Any, source: str) -> Parts:
    """Adds the parameters. RunError: some are not finite."""
    if name := crnn.first_not_finite(params):
        raise RunError(
            f"{source}: {name} has values that are not finite; choose another epoch with --epoch"
        )
    return parts._replace(params=params)


def _is_intact(checkpoints: Checkpoints, epoch: int, config: Config) -> bool:
    try:
        _restore(checkpoints, epoch, config, None)
    except RunError:
        return False
    return True


def _best_epoch(checkpoints: Checkpoints, latest: int) -> int:
    meta = checkpoints.meta(latest)
    if "best_epoch" not in meta:
        raise DamageError(f"the checkpoint {checkpoints.directory / str(latest)} has no best_epoch")
    epoch: int = meta["best_epoch"]
    return epoch


def _list(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs))
