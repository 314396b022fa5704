"""Reads the weights of `ocr_model_v1` from any file format of Keras.

Files are read with h5py only, and nothing in them is executed. Layers are recognized by the ranks
and sizes of their arrays: convolutions, a dense layer, bidirectional LSTMs, a dense layer, each
fitting the layer before it. Names do not identify layers, because Keras numbers the layers of a
session (bidirectional_4). Formats:

    .h5, .hdf5      Keras 2 and 3, whole models or weights only (groups named by layer)
    .weights.h5     Keras 3 (layers/<kind>/vars/0, 1, ...)
    .keras          Keras 3 and late 2: a zip archive with config.json and a .weights.h5
"""

from __future__ import annotations

import io
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data import archive as archive_lib
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError, brief
from crnn_jax.inference import exported
from crnn_jax.interop import hdf5, keras_config
from crnn_jax.runtime import files

ARRAYS = ("kernel", "recurrent_kernel", "bias")  # arrays of a layer, in Keras' order
# Limits for untrusted files. The reference has 2 convolutions, 2 LSTMs, and arrays of up to
# 131,072 elements.
_MOST_BYTES, _MOST_LAYERS = 2**30, 6
_MOST_EXPANDED = 2**26  # bytes of compressed weights
_MOST_JSON = 2**20
_MOST_ENTRIES = 1000


class Cell(NamedTuple):
    """The arrays of a layer, or of one direction of a bidirectional layer."""

    name: str  # path in the file
    arrays: tuple[np.ndarray, ...]  # kernel, bias; or kernel, recurrent kernel, bias


class Model(NamedTuple):
    """The contents of a file, with the parameter names of this package."""

    params: dict[str, dict[str, np.ndarray]]
    conv_features: tuple[int, ...]
    dense_features: int
    lstm_units: tuple[int, ...]
    channels: int
    rows: int  # height after the last pooling
    num_classes: int
    size: tuple[int, int] | None  # width and height of the input, if the file contains them
    normalization: Normalization | None  # computed by the model's layers, if the file contains them
    description: bytes | None  # reader.json, if this package exported the file


def read(path: str | os.PathLike[str]) -> Model:
    """Reads the model in a Keras file.

    Raises:
      RunError: the file cannot be read, or is not a CNN-BiLSTM of this kind; the message lists
        its arrays.
    """
    path = Path(path)
    description = config = None
    try:
        content = files.read(path, _MOST_BYTES)
        if zipfile.is_zipfile(io.BytesIO(content)):
            content, config, description = _read_archive(content)
        cells, legacy_config = _read_cells(content)
        size, normalization = keras_config.read(config or legacy_config)
    except ImportError:
        raise
    # h5py, zipfile and the decompressors raise many kinds of errors on damaged files.
    except Exception as error:
        why = brief(error) or type(error).__name__
        raise RunError(f"{path} cannot be read as a Keras file: {why}") from error
    try:
        return _assemble(cells)._replace(
            size=size, normalization=normalization, description=description
        )
    except LookupError as error:
        shown = [f"{brief(c.name, 60)} {[a.shape for a in c.arrays[:4]]}" for c in cells[:12]]
        more = f" and {len(cells) - 12} more" if len(cells) > 12 else ""
        raise RunError(
            f"{path} is not the CRNN of this package: {brief(error)}. It contains "
            f"{', '.join(shown) or 'no weights'}{more}"
        ) from None


def _read_cells(content: bytes) -> tuple[list[Cell], str | bytes | None]:
    """Returns all layers with weights, in the model's order, and the configuration if present."""
    found = hdf5.read(content, _is_weight)
    groups: dict[str, dict[int, np.ndarray]] = {}
    for name, array in found.arrays.items():
        group, _, last = name.replace("\\", "/").rpartition("/")
        last = last.removesuffix(":0")
        cell = groups.setdefault(group, {})
        rank = len(ARRAYS) + len(cell)  # other names follow the known ones
        if last in ARRAYS or (last.isascii() and last.isdigit() and len(last) < 4):
            rank = int(last) if last.isdigit() else ARRAYS.index(last)
        if rank in cell:
            raise ValueError(f"{brief(group, 100)} has two arrays with the same name")
        cell[rank] = array
    cells = [Cell(n, tuple(a for _, a in sorted(g.items()))) for n, g in groups.items()]
    order = {name: place for place, name in enumerate(found.layers)}
    cells.sort(
        key=lambda cell: (
            min((order[part] for part in cell.name.split("/") if part in order), default=-1),
            _natural(cell.name),
        )
    )
    return cells, found.config


def _is_weight(name: str) -> bool:
    """Whether an object can be a weight, rather than state of an optimizer or a metric."""
    return not name.startswith(("optimizer", "metrics")) and "seed_generator" not in name


def _read_archive(content: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Returns the weights, the configuration and, if present, reader.json of a .keras file."""
    archive, entries = archive_lib.entries(content, _MOST_ENTRIES)
    named = {entry.filename: entry for entry in entries}
    if len(named) < len(entries):
        raise ValueError("it contains two files with the same name")
    for name in ("model.weights.h5", "config.json"):
        if name not in named:
            raise ValueError(f"it does not contain {name}")
    # Compression hardly reduces the size of weights.
    most = max(_MOST_EXPANDED, 4 * len(content))
    weights = archive_lib.read(archive, named["model.weights.h5"], most)
    config = archive_lib.read(archive, named["config.json"], _MOST_JSON)
    if exported.FILE not in named:
        return weights, config, None
    return weights, config, archive_lib.read(archive, named[exported.FILE], _MOST_JSON)


def _assemble(cells: Sequence[Cell]) -> Model:
    """Recognizes the layers of a CRNN. LookupError says why if that fails."""
    convs = [c for c in cells if _ranks(c) == (4, 1)]
    dense = [c for c in cells if _ranks(c) == (2, 1)]
    lstms = [c for c in cells if _ranks(c) == (2, 2, 1)]
    if others := [c.name for c in cells if c not in convs and c not in dense and c not in lstms]:
        raise LookupError(f"{others[0]} is not a layer of this model")
    few = range(1, _MOST_LAYERS + 1)
    if len(convs) not in few or len(dense) != 2 or len(lstms) / 2 not in few:
        raise LookupError(
            f"it needs 1 to {_MOST_LAYERS} convolutions and bidirectional LSTMs and 2 dense layers"
        )
    if empty := [c.name for c in cells if not all(a.size for a in c.arrays)]:
        raise LookupError(f"{empty[0]} is empty")
    if broken := [c.name for c in cells if not all(np.isfinite(a).all() for a in c.arrays)]:
        raise LookupError(f"{broken[0]} has values that are not finite")
    if any(c.arrays[0].shape[:2] != (3, 3) for c in convs):
        raise LookupError("its convolutions must be 3x3")

    def fits(cells: Iterable[Cell]) -> bool:
        return all(
            a.arrays[0].shape[-1] == b.arrays[0].shape[-2] for a, b in itertools.pairwise(cells)
        )

    convs = _first(itertools.permutations(convs), fits, "the convolutions do not follow each other")
    layers = _pair(lstms)

    def chain(order: Sequence[Any]) -> bool:
        (first, last), pairs = order
        width = first.arrays[0].shape[1]
        for forward, backward in pairs:
            units = forward.arrays[1].shape[0]
            for cell in (forward, backward):
                kernel, recurrent, bias = (a.shape for a in cell.arrays)
                if (kernel, recurrent, bias) != (
                    (width, 4 * units), (units, 4 * units), (4 * units,)
                ):  # fmt: skip
                    return False
            width = 2 * units
        return last.arrays[0].shape[0] == width and not first.arrays[0].shape[0] % features

    features = convs[-1].arrays[0].shape[-1]
    orders = itertools.product(itertools.permutations(dense), itertools.permutations(layers))
    (first, last), pairs = _first(orders, chain, "dense layers and LSTMs do not follow each other")
    params = {f"Conv{i}": _named(c, ("kernel", "bias")) for i, c in enumerate(convs, 1)}
    params["dense1"] = _named(first, ("kernel", "bias"))
    params["dense2"] = _named(last, ("kernel", "bias"))
    for i, pair in enumerate(pairs):
        params[f"bidirectional_{i}" if i else "bidirectional"] = {
            f"{direction}_{name}": array
            for direction, cell in zip(("forward", "backward"), pair, strict=True)
            for name, array in _named(cell, ARRAYS).items()
        }
    return Model(
        params,
        conv_features=tuple(c.arrays[0].shape[-1] for c in convs),
        dense_features=first.arrays[0].shape[1],
        lstm_units=tuple(forward.arrays[1].shape[0] for forward, _ in pairs),
        channels=convs[0].arrays[0].shape[2],
        rows=first.arrays[0].shape[0] // features,
        num_classes=last.arrays[0].shape[1],
        size=None,
        normalization=None,
        description=None,
    )


def _pair(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Pairs the forward and backward cells of each layer, in the order of the layer names."""
    forward = [c for c in cells if "forward" in c.name]
    backward = [c for c in cells if "backward" in c.name]
    if len(forward) != len(backward) or len(forward) + len(backward) != len(cells):
        raise LookupError("its LSTMs must be bidirectional")
    pairs = []
    for cell in forward:
        layer = cell.name.partition("forward")[0]
        other = [c for c in backward if c.name.partition("backward")[0] == layer]
        if len(other) != 1:
            raise LookupError(f"{cell.name} has no backward direction")
        pairs.append((cell, other[0]))
    return pairs


def _first(candidates: Iterable[Any], holds: Callable[[Any], bool], complaint: str) -> Any:
    for candidate in candidates:
        if holds(candidate):
            return candidate
    raise LookupError(complaint)


def _named(cell: Cell, names: Sequence[str]) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):  # infinities are reported by name later
        return {n: np.asarray(a, np.float32) for n, a in zip(names, cell.arrays, strict=True)}


def _ranks(cell: Cell) -> tuple[int, ...]:
    return tuple(array.ndim for array in cell.arrays)


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a sort key: lstm_2 before lstm_10, and lstm before both."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
