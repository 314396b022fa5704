"""Starts from the parameters of another run. Alphabets are matched by symbol."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.charset import Charset
from crnn_jax.errors import RunError
from crnn_jax.inference import recognizer
from crnn_jax.models import crnn

_HEAD = "dense2"  # the layer whose outputs are the classes


def transfer(params: Any, charset: Charset, run: str | os.PathLike[str]) -> Any:
    """Returns the best parameters of `run`, with the last layer adapted to `charset`.

    Symbols that the run's alphabet lacks keep the columns of `params` in the last layer. All other
    parameters, including the column of the blank, are those of the run.

    Raises:
      RunError: there is no trained model, or its layers have other sizes.
    """
    reader = recognizer.load(run)
    there, here = _shapes(reader.params), _shapes(params)
    if there != here:
        name = next(n for n in sorted(here | there) if here.get(n) != there.get(n))
        raise RunError(
            f"train.init_from: {name} is {there.get(name, 'absent')} in {run} and "
            f"{here.get(name, 'absent')} here; set model and data to the sizes of that run"
        )
    old_symbols = reader.charset.alphabet
    pairs = [(old_symbols.index(s), i) for i, s in enumerate(charset.alphabet) if s in old_symbols]
    pairs.append((reader.charset.blank, charset.blank))
    old, new = (jnp.array(column) for column in zip(*pairs, strict=True))
    head = {
        name: params[_HEAD][name].at[..., new].set(reader.params[_HEAD][name][..., old])
        for name in params[_HEAD]
    }
    return {**jax.tree.map(jnp.copy, reader.params), _HEAD: head}


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all parameters by name, without the class axis of the last layer."""
    return {
        name: leaf.shape[:-1] if name.startswith(f"{_HEAD}/") else leaf.shape
        for name, leaf in crnn.by_name(params).items()
    }
