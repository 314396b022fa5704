"""The weights of `ocr_model_v1` in whatever file Keras left them.

Read with h5py alone; nothing in the file is executed. Layers are known by what they are and not
by their names, which Keras counts up in a session (bidirectional_4): convolutions, a dense layer,
bidirectional LSTMs, a dense layer, each fitting the one before. Formats:

    .h5, .hdf5      Keras 2 and 3, whole models and weights alone (groups named by layer)
    .weights.h5     Keras 3 (layers/<kind>/vars/0, 1, ...)
    .keras          Keras 3 and late 2: a zip that holds config.json and such a file
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

from crnn_jax import disk
from crnn_jax.errors import RunError
from crnn_jax.interop import description as description_lib
from crnn_jax.interop import keras_config
from crnn_jax.standard import Standard

ARRAYS = ("kernel", "recurrent_kernel", "bias")  # of a layer, in Keras' order
# Bounds on what strangers send. The reference has 2 convolutions, 2 LSTMs, arrays of 131,072.
_MOST_BYTES, _MOST_LAYERS = 2 * 10**9, 6


class Cell(NamedTuple):
    """The arrays of one layer, or of one direction of one, in Keras' order."""

    name: str  # path in the file
    arrays: tuple[np.ndarray, ...]  # kernel, bias; or kernel, recurrent kernel, bias


class Model(NamedTuple):
    """What a file holds, under the names of this package."""

    params: dict[str, dict[str, np.ndarray]]
    conv_features: tuple[int, ...]
    dense_features: int
    lstm_units: tuple[int, ...]
    channels: int
    rows: int  # height after the last pooling
    num_classes: int
    size: tuple[int, int] | None  # width and height of the input, where the file tells
    standard: Standard | None  # how it standardises pixels itself, where the file tells
    description: bytes | None  # that this package left in the file


def read(path: str | os.PathLike[str]) -> Model:
    """The model in a file of Keras.

    Raises:
      RunError: it cannot be read, or is no CNN-BiLSTM of this kind; it says what it found.
    """
    path = Path(path)
    description = None
    try:
        content = io.BytesIO(disk.read(path, _MOST_BYTES))
        if zipfile.is_zipfile(content):
            with zipfile.ZipFile(content) as archive:
                if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                    raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
                weights = io.BytesIO(archive.read("model.weights.h5"))
                config: str | bytes | None = archive.read("config.json")
                if description_lib.FILE in archive.namelist():
                    description = archive.read(description_lib.FILE)
        else:
            weights, config = content, None
        cells, legacy_config = _read_cells(weights)
        size, standard = keras_config.read(config or legacy_config)
    except ImportError:
        raise
    # h5py, zipfile and the decompressors raise errors of many kinds on what strangers send.
    except Exception as error:
        raise RunError(f"{path} is no file of Keras that can be read: {error}") from error
    try:
        return _assemble(cells)._replace(size=size, standard=standard, description=description)
    except LookupError as error:
        found = ", ".join(f"{c.name} {[a.shape for a in c.arrays]}" for c in cells) or "no weights"
        raise RunError(
            f"{path} is not the CRNN of this package: {error}. It holds {found}"
        ) from None


def _read_cells(file: io.BytesIO) -> tuple[list[Cell], str | bytes | None]:
    """All layers with weights, in the model's order, and its configuration, if it is there."""
    import h5py

    groups: dict[str, dict[int, np.ndarray]] = {}
    num_bytes = 0

    def visit(name: str, item: Any) -> None:
        nonlocal num_bytes
        group, _, last = name.replace("\\", "/").rpartition("/")
        last = last.removesuffix(":0")
        foreign = group.startswith(("optimizer", "metrics")) or "seed_generator" in group
        if not isinstance(item, h5py.Dataset) or foreign:
            return
        if item.dtype.kind != "f" or item.shape is None or item.external or item.is_virtual:
            raise ValueError(f"{name} is {item.dtype} {item.shape}, which no weight is")
        num_bytes += item.size * item.dtype.itemsize
        if num_bytes > _MOST_BYTES:
            raise ValueError(f"it holds more than {_MOST_BYTES} bytes of weights")
        rank = int(last) if last.isdigit() else ARRAYS.index(last) if last in ARRAYS else 3
        groups.setdefault(group, {})[rank] = np.asarray(item)

    with h5py.File(file, "r") as root:
        config, weights = root.attrs.get("model_config"), root
        if isinstance(root.get("model_weights", getlink=True), h5py.HardLink):
            weights = root["model_weights"]
        weights.visititems(visit)
        names = [
            n.decode() if isinstance(n, bytes) else n for n in weights.attrs.get("layer_names", ())
        ]
    cells = [Cell(n, tuple(a for _, a in sorted(g.items()))) for n, g in groups.items()]
    order = {name: place for place, name in enumerate(names)}
    cells.sort(
        key=lambda cell: (
            min((order[part] for part in cell.name.split("/") if part in order), default=-1),
            _natural(cell.name),
        )
    )
    return cells, config


def _assemble(cells: Sequence[Cell]) -> Model:
    """LookupError says what is missing."""
    convs = [c for c in cells if _ranks(c) == (4, 1)]
    dense = [c for c in cells if _ranks(c) == (2, 1)]
    lstms = [c for c in cells if _ranks(c) == (2, 2, 1)]
    if others := [c.name for c in cells if c not in convs and c not in dense and c not in lstms]:
        raise LookupError(f"it has no place for {others[0]}")
    few = range(1, _MOST_LAYERS + 1)
    if len(convs) not in few or len(dense) != 2 or len(lstms) / 2 not in few:
        raise LookupError(
            f"it has 1 to {_MOST_LAYERS} convolutions and bidirectional LSTMs and 2 dense layers"
        )
    if empty := [c.name for c in cells if not all(a.size for a in c.arrays)]:
        raise LookupError(f"{empty[0]} is empty")
    if broken := [c.name for c in cells if not all(np.isfinite(a).all() for a in c.arrays)]:
        raise LookupError(f"{broken[0]} holds numbers that are not finite")
    if any(c.arrays[0].shape[:2] != (3, 3) for c in convs):
        raise LookupError("its convolutions are 3x3")

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
        standard=None,
        description=None,
    )


def _pair(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Forward and backward cells of one layer, the layers in the order of their names."""
    forward = [c for c in cells if "forward" in c.name]
    backward = [c for c in cells if "backward" in c.name]
    if len(forward) != len(backward) or len(forward) + len(backward) != len(cells):
        raise LookupError("its LSTMs are bidirectional")
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
    return {n: np.asarray(a, np.float32) for n, a in zip(names, cell.arrays, strict=True)}


def _ranks(cell: Cell) -> tuple[int, ...]:
    return tuple(array.ndim for array in cell.arrays)


def _natural(name: str) -> list[tuple[int, str]]:
    """lstm_2 before lstm_10, and lstm before both."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
