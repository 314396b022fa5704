"""Reads the weight arrays of an untrusted HDF5 file in bounded memory.

A small HDF5 file can claim arrays of any size: datasets that were never written, chunks that expand
when they are decompressed, and data in other files. Only float arrays that are stored uncompressed
in the file itself are read, so that the arrays together need no more memory than the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.errors import brief

_MOST_OBJECTS = 10_000  # groups and datasets
_MOST_DEPTH = 16  # levels of nested groups; Keras uses six
_MOST_RANK = 4
_MOST_TEXT = 1 << 20  # bytes of the configuration
_MOST_NAMES = 1 << 26  # bytes of the layer names


class Contents(NamedTuple):
    """The contents of a Keras file."""

    arrays: dict[str, np.ndarray]  # keyed by path in the file
    layers: list[str]  # layer names in the model's order; empty if the file does not say
    config: str | bytes | None  # the model's configuration as JSON, if the file has it


def read(content: bytes, is_weight: Callable[[str], bool]) -> Contents:
    """Reads the datasets whose path satisfies `is_weight`; other objects are not opened.

    Links to other files are not followed, and no other file is opened.

    Raises:
      ValueError: a dataset is not stored in the file, or is not an array of floats. The message
        names it.
      Exception: h5py raises many kinds of errors on damaged files.
    """
    import h5py

    with h5py.File(io.BytesIO(content), "r") as root:
        config = _text(root, b"model_config", len(content))
        weights = root
        if isinstance(root.get("model_weights", getlink=True), h5py.HardLink):
            weights = root["model_weights"]
            if not isinstance(weights, h5py.Group):
                raise ValueError("model_weights is not a group")
        arrays: dict[str, np.ndarray] = {}
        left = len(content)
        for name, dataset in _datasets(weights, is_weight):
            left -= _check_stored(name, dataset, len(content))
            if left < 0:
                raise ValueError(f"its arrays claim more than the {len(content)} bytes of the file")
            arrays[name] = np.asarray(dataset)
        return Contents(arrays, _layer_names(weights, len(content)), config)


def _datasets(root: Any, is_weight: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    """Yields the datasets sorted by path, each once even if several links lead to it."""
    import h5py

    seen: set[int] = set()
    opened = 0
    waiting = [("", root, 0)]
    while waiting:
        path, item, depth = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield path, item
            continue
        if not isinstance(item, h5py.Group):
            continue
        opened += len(item)
        if opened > _MOST_OBJECTS:
            raise ValueError(f"it has more than {_MOST_OBJECTS} objects")
        if depth == _MOST_DEPTH:
            raise ValueError(f"its groups are nested more than {_MOST_DEPTH} deep")
        for name in sorted(item, reverse=True):
            below = f"{path}/{name}" if path else name
            if is_weight(below) and isinstance(item.get(name, getlink=True), h5py.HardLink):
                waiting.append((below, item[name], depth + 1))


def _check_stored(name: str, dataset: Any, size: int) -> int:
    """The size of a dataset in bytes. ValueError unless all of them are stored in the file.

    The layout is read before the shape, because the shape of a virtual dataset can depend on other
    files.

    Args:
      name: the name of the dataset, for error messages.
      dataset: an h5py.Dataset.
      size: the size of the file, in bytes.
    """
    from h5py import h5d, h5s, h5t

    shown = brief(name, 100)
    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED) or properties.get_external_count():
        raise ValueError(f"{shown} is stored in other files")
    if properties.get_nfilters():
        raise ValueError(
            f"{shown} is compressed, which Keras does not do; decompress it with `h5repack -f NONE`"
        )
    kind, space = dataset.id.get_type(), dataset.id.get_space()
    if kind.get_class() != h5t.FLOAT or kind.get_size() not in (2, 4, 8):
        raise ValueError(f"{shown} is not an array of floats")
    if space.get_simple_extent_type() == h5s.NULL or space.get_simple_extent_ndims() > _MOST_RANK:
        raise ValueError(f"{shown} is not an array of at most {_MOST_RANK} axes")
    claimed = math.prod(space.get_simple_extent_dims()) * kind.get_size()
    pieces = properties.get_chunk() if layout == h5d.CHUNKED else ()
    if math.prod(pieces) * kind.get_size() > size:
        raise ValueError(f"{shown} is stored in chunks larger than the file")
    stored = dataset.id.get_storage_size()
    if layout == h5d.CONTIGUOUS and claimed:
        place = dataset.id.get_offset()
        stored = 0 if place is None else min(stored, size - place)
    if stored < claimed:
        raise ValueError(
            f"{shown} claims {claimed} bytes, but the file stores {max(0, stored)} of them"
        )
    return int(claimed)


def _layer_names(group: Any, size: int) -> list[str]:
    names = _attribute(group, b"layer_names", _MOST_NAMES, size)
    if names is None:
        return []
    return [n.decode() if isinstance(n, bytes) else str(n) for n in np.atleast_1d(names).tolist()]


def _text(group: Any, name: bytes, size: int) -> str | bytes | None:
    """Returns a scalar string attribute; None if it does not exist."""
    text = _attribute(group, name, size, size)
    if text is None:
        return None
    if not isinstance(text, (str, bytes)):
        raise ValueError(f"{name.decode()} is not a string")
    if len(text) > _MOST_TEXT:
        raise ValueError(f"{name.decode()} has more than {_MOST_TEXT} bytes")
    return text


def _attribute(group: Any, name: bytes, most: int, size: int) -> Any:
    """Returns a string attribute of at most `most` bytes; None if it does not exist.

    `size` is the size of the file in bytes.
    """
    from h5py import h5a, h5s, h5t

    if not h5a.exists(group.id, name):
        return None
    attribute = h5a.open(group.id, name)
    kind, space = attribute.get_type(), attribute.get_space()
    shown = name.decode()
    if kind.get_class() != h5t.STRING or space.get_simple_extent_type() == h5s.NULL:
        raise ValueError(f"{shown} is not a string")
    # Strings of variable length are stored separately, and many can refer to the same bytes, so
    # each can be as large as the file.
    each = size if kind.is_variable_str() else kind.get_size()
    if math.prod(space.get_simple_extent_dims()) * each > most:
        raise ValueError(f"{shown} claims more than {most} bytes")
    return group.attrs[shown]
