"""Starts from the parameters of another run. Alphabets are matched by symbol."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.inference import evaluate, metrics, recognizer
from crnn_jax.models import crnn

_HEAD = "dense2"  # the layer whose outputs are the classes
MOST_READ = 64  # labeled images, to find out whether labels ignore case
_LEAST_SHARE = 0.1  # share of images with letters in the other case


class Origin:
    """The reader of train.init_from. It is loaded at its first use, once.

    A run that still trains changes; all uses get the same weights.
    """

    def __init__(self, run: str | os.PathLike[str]):
        self.run = run  # as `recognizer.load` takes it

    @functools.cached_property
    def reader(self) -> recognizer.Recognizer:
        """The reader. RunError: it cannot be loaded."""
        return recognizer.load(self.run)


def transfer(params: Any, charset: Charset, origin: Origin, config: Config | None = None) -> Any:
    """Returns the parameters of a reader, with the last layer adapted to `charset`.

    Symbols that the reader's alphabet lacks keep the columns of `params` in the last layer. All
    other parameters, including the columns of the blank and of `charset.other_cases`, are those of
    the reader.

    Args:
      params: fresh parameters.
      charset: their symbols.
      origin: the reader.
      config: the config of the new run, for the error message.

    Raises:
      RunError: there is no trained model, or its layers have other sizes; the message names the
        sizes of the images and the config keys that differ.
    """
    reader = origin.reader
    there, here = _shapes(reader.params), _shapes(params)
    if there != here:
        name = next(n for n in sorted(here | there) if here.get(n) != there.get(n))
        advice = _advice(reader.config, config) if config else ""
        raise RunError(
            f"train.init_from: {name} is {there.get(name, 'absent')} in {origin.run} and "
            f"{here.get(name, 'absent')} here; "
            f"{advice or 'set model and data to the sizes of that run'}"
        )
    old, new = _outputs(reader.charset), _outputs(charset)
    pairs = [(old[symbol], i) for symbol, i in new.items() if symbol in old]
    there_ids, here_ids = (jnp.array(column) for column in zip(*pairs, strict=True))
    head = {
        name: params[_HEAD][name].at[..., here_ids].set(reader.params[_HEAD][name][..., there_ids])
        for name in params[_HEAD]
    }
    return {**jax.tree.map(jnp.copy, reader.params), _HEAD: head}


def _outputs(charset: Charset) -> dict[str, int]:
    """Returns the columns of the last layer by symbol; that of the blank is under ''."""
    others = enumerate(charset.split(charset.other_cases), charset.num_classes)
    return {**charset.ids, "": charset.blank, **{symbol: i for i, symbol in others}}


def with_other_cases(
    charset: Charset,
    images: np.ndarray,
    texts: Sequence[str],
    origin: Origin,
    batch_size: int,
) -> Charset:
    """Adds `other_cases` to a charset if the labels of images ignore case.

    In many schemes all labels are in one case, whatever the case in the image. A reader that knows
    both cases then reads some of the letters in the other case. If that happens in at least a tenth
    of the images that it reads correctly except for case, all such letters that it knows are added.
    A reader that already has other cases of these letters keeps them.

    Args:
      charset: the symbols of the labels.
      images: u8 [N, W, H, C], labeled images; MOST_READ are enough.
      texts: their labels.
      origin: the reader.
      batch_size: images per call of the model.
    """
    reader = origin.reader
    known = _outputs(reader.charset)
    letters = [symbol for symbol in charset.missing_cases if symbol in known]
    data = reader.config.data
    others = {*reader.charset.other_cases}
    if letters and others & {*letters, *charset.symbols}:  # it was itself adapted to such labels
        return dataclasses.replace(charset, other_cases="".join(letters))
    if not letters or images.shape[2:] != (data.height, data.channels):
        return charset
    parts = evaluate.Reader(reader.model, reader.params, reader.charset)
    readings = evaluate.read_all(parts, images, np.arange(len(images)), batch_size)
    texts_read = (reading.text for reading in readings)
    right = metrics.exact_matches(zip(texts, texts_read, strict=True))
    other = right.case_folded - right.as_labeled
    if not other or other < _LEAST_SHARE * right.case_folded:
        return charset
    return dataclasses.replace(charset, other_cases="".join(letters))


def unknown(symbols: Iterable[str], origin: Origin) -> str:
    """Returns the symbols that the reader does not know."""
    known = _outputs(origin.reader.charset)
    return "".join(symbol for symbol in symbols if symbol not in known)


def digest(origin: Origin) -> str:
    """Returns the digest of the parameters that `transfer` takes from the reader."""
    return crnn.params_sha256(origin.reader.params)


def other_width(origin: Origin, config: Config) -> str:
    """Says that a reader of one width starts a run of another one; an empty string if not.

    The parameters do not depend on the width, but the reader has learned how wide a character is.
    """
    there, here = origin.reader.config.data, config.data
    if origin.reader.width_by_image or there.width == here.width:
        return ""
    return (
        f"the reader of train.init_from reads images at {there.width}x{there.height} pixels, and "
        f"this run at {here.width}x{here.height}; to keep the size, use another --workdir with "
        f"--config.data.width={there.width}"
    )


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
        for values, where in ((old, "in that run"), (new, "in this one"))
    )
    differ = any(old[key] != new[key] for key in ("data.width", "data.height"))
    images = f"images are {sizes}; " if differ else ""
    return f"{images}train with {' '.join(changes)}" if changes else ""


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all parameters by name, without the class axis of the last layer."""
    return {
        name: leaf.shape[:-1] if name.startswith(f"{_HEAD}/") else leaf.shape
        for name, leaf in crnn.by_name(params).items()
    }
