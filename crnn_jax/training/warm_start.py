"""Weights of another run to start from, its alphabet matched to the new one by symbol."""

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
    """Fresh parameters with those of a run's best weights in their place.

    A symbol that the run's alphabet lacks keeps its fresh column of the last layer; all other
    parameters, the blank's column included, are the run's.

    Raises:
      RunError: there is no trained reader, or its layers are of other sizes.
    """
    reader = recognizer.load(run)
    there, here = _shapes(reader.params), _shapes(params)
    if there != here:
        name = next(n for n in sorted(here | there) if here.get(n) != there.get(n))
        raise RunError(
            f"train.init_from: {name} is {there.get(name, 'absent')} in {run} and "
            f"{here.get(name, 'absent')} here; give model and data the sizes that it has"
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
    """By name, of all parameters; of the last layer without the classes."""
    return {
        name: leaf.shape[:-1] if name.startswith(f"{_HEAD}/") else leaf.shape
        for name, leaf in crnn.by_name(params).items()
    }
