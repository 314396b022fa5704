"""Starts from the parameters of another run. Alphabets are matched by symbol."""

from __future__ import annotations

import os
import shlex
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.inference import recognizer
from crnn_jax.models import crnn

_HEAD = "dense2"  # the layer whose outputs are the classes


def transfer(
    params: Any, charset: Charset, run: str | os.PathLike[str], config: Config | None = None
) -> Any:
    """Returns the best parameters of `run`, with the last layer adapted to `charset`.

    Symbols that the run's alphabet lacks keep the columns of `params` in the last layer. All other
    parameters, including the column of the blank, are those of the run.

    Args:
      params: fresh parameters.
      charset: their symbols.
      run: a run directory, or the name of a reader of the package.
      config: of the new run, for the error message.

    Raises:
      RunError: there is no trained model, or its layers have other sizes; the message names the
        sizes of the images and the config keys that differ.
    """
    reader = recognizer.load(run)
    there, here = _shapes(reader.params), _shapes(params)
    if there != here:
        name = next(n for n in sorted(here | there) if here.get(n) != there.get(n))
        advice = _advice(reader.config, config) if config else ""
        raise RunError(
            f"train.init_from: {name} is {there.get(name, 'absent')} in {run} and "
            f"{here.get(name, 'absent')} here; "
            f"{advice or 'set model and data to the sizes of that run'}"
        )
    old = reader.charset.ids
    pairs = [(old[symbol], i) for symbol, i in charset.ids.items() if symbol in old]
    pairs.append((reader.charset.blank, charset.blank))
    there_ids, here_ids = (jnp.array(column) for column in zip(*pairs, strict=True))
    head = {
        name: params[_HEAD][name].at[..., here_ids].set(reader.params[_HEAD][name][..., there_ids])
        for name in params[_HEAD]
    }
    return {**jax.tree.map(jnp.copy, reader.params), _HEAD: head}


def unknown(charset: Charset, run: str | os.PathLike[str]) -> str:
    """Returns the symbols of a charset that the reader of `run` does not know."""
    known = recognizer.load(run).charset.ids
    return "".join(symbol for symbol in charset.symbols if symbol not in known)


def _advice(there: Config, here: Config) -> str:
    """Names the sizes of the images of two runs, and the keys that must be as they are `there`."""
    old, new = (config_lib.flatten(config_lib.to_dict(c)) for c in (there, here))
    keys = ["data.height", "data.channels"]
    keys += [k for k in new if k.startswith("model.") and "dropout" not in k]
    changes = [
        f"--config.{key}={shlex.quote(str(tuple(value) if isinstance(value, list) else value))}"
        for key in keys
        if (value := old[key]) != new[key]
    ]
    sizes = " and ".join(
        f"{values['data.width']}x{values['data.height']} {where}"
        for values, where in ((old, "there"), (new, "here"))
    )
    differ = any(old[key] != new[key] for key in ("data.width", "data.height"))
    images = f"images have {sizes}; " if differ else ""
    return f"{images}train with {' '.join(changes)}" if changes else ""


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all parameters by name, without the class axis of the last layer."""
    return {
        name: leaf.shape[:-1] if name.startswith(f"{_HEAD}/") else leaf.shape
        for name, leaf in crnn.by_name(params).items()
    }
