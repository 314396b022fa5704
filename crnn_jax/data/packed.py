"""Reads the packs that `pack` writes: the index at once, the images one by one."""

from __future__ import annotations

import bisect
import csv
import functools
import hashlib
import io
import itertools
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from crnn_jax.data.label_rows import Listing
from crnn_jax.errors import DataError, brief
from crnn_jax.runtime.files import read

VERSION = 1
MANIFEST, INDEX, FIRST = "pack.json", "index.csv", "images-00000.array_record"
COLUMNS = ("file", "label", "part")
MOST_BYTES = 2**32  # maximum bytes of the index


class Shard(msgspec.Struct, forbid_unknown_fields=True):
    """One file of a pack."""

    file: str
    records: int
    bytes: int


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """The content of pack.json."""

    version: int
    images: int
    origin: str  # origin of the labels, see `Dataset`
    fingerprint: str  # fingerprint of the data, as from `folder.load`
    index_sha256: str
    shards: list[Shard]


class Index(NamedTuple):
    """The index of a pack, in the order of the images."""

    files: list[str]  # sorted
    labels: list[str]
    parts: list[str]  # train, val, test or ""


def is_pack(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a pack, perhaps an incomplete one."""
    return (Path(folder) / MANIFEST).is_file() or (Path(folder) / FIRST).is_file()


def manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Returns the content of pack.json.

    Raises:
      DataError: it is missing or wrong, or a file has another size than when it was packed.
    """
    path = Path(folder) / MANIFEST
    try:
        found = msgspec.json.decode(read(path), type=Manifest)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is an incomplete pack: it has no {MANIFEST}; remove it and pack again"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} cannot be read: {brief(error)}") from error
    if found.version != VERSION:
        raise DataError(
            f"{path} is of version {found.version}, and this program reads {VERSION}; pack the "
            "images again"
        )
    for shard in found.shards:
        if not re.fullmatch(r"images-\d{5,}\.array_record", shard.file):
            raise DataError(f"{path}: {brief(shard.file, 100)} is not the name of a file of a pack")
        file = Path(folder) / shard.file
        try:
            size = file.stat().st_size
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from error
        if size != shard.bytes:
            raise DataError(f"{file} has {size} bytes, not {shard.bytes}; pack the images again")
    return found


def index(folder: str | os.PathLike[str]) -> Index:
    """Returns names, labels and parts of all images. DataError: the index is damaged."""
    return _index(os.fspath(folder), _time_of(folder))


def forget_index() -> None:
    """Frees the memory of the indices that were read."""
    _index.cache_clear()


def listed(folder: str | os.PathLike[str], reads_labels: bool) -> Listing:
    """Lists a pack as `listing.of` lists a folder."""
    found = index(folder)
    labels = found.labels if reads_labels else [""] * len(found.files)
    parts = dict(zip(found.files, found.parts, strict=True)) if any(found.parts) else {}
    origin = manifest(folder).origin if reads_labels else ""
    return Listing(dict(zip(found.files, labels, strict=True)), {}, parts, origin, (), ())


def image(folder: str | os.PathLike[str], file: str) -> bytes:
    """Returns the content of an image file. DataError: there is none of this name."""
    files = index(folder).files
    place = bisect.bisect_left(files, file)
    if place == len(files) or files[place] != file:
        raise DataError(f"{folder} has no image {brief(file, 200)}")
    return record(folder, place)


def record(folder: str | os.PathLike[str], place: int) -> bytes:
    """Returns the content of image number `place`, from 0. DataError: it cannot be read."""
    try:
        return bytes(_source(os.fspath(folder), _time_of(folder))[place])
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise DataError(
            f"image {place} of {folder} cannot be read: {brief(error, 200)}; pack the images again"
        ) from error


def array_record() -> ModuleType:
    """Imports ArrayRecord, which comes with Grain. DataError if it is not installed."""
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise DataError("packs need Grain: pip install 'crnn-jax[pack]'") from error
    module: ModuleType = array_record_module
    return module


@functools.lru_cache(maxsize=2)
def _index(folder: str, modified: int) -> Index:
    found, path = manifest(folder), Path(folder) / INDEX
    try:
        content = read(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != found.index_sha256:
        raise DataError(f"{path} is damaged or was edited; pack the images again")
    known: dict[str, str] = {}  # equal labels are one object
    index = Index([], [], [])
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline="")
    for file, label, part in itertools.islice(csv.reader(text), 1, None):
        index.files.append(file)
        index.labels.append(known.setdefault(label, label))
        index.parts.append(known.setdefault(part, part))
    if len(index.files) != found.images:
        raise DataError(f"{path} has {len(index.files)} images, not {found.images}")
    if index.files != sorted(index.files):
        raise DataError(f"{path} is not sorted by file name; pack the images again")
    return index


@functools.lru_cache(maxsize=2)
def _source(folder: str, modified: int) -> Any:
    array_record()
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    found = manifest(folder)
    return ArrayRecordDataSource([os.path.join(folder, shard.file) for shard in found.shards])


def _time_of(folder: str | os.PathLike[str]) -> int:
    try:
        return os.stat(Path(folder) / MANIFEST).st_mtime_ns
    except OSError:
        return 0  # `manifest` says what is wrong
