"""Packs a folder of labeled images into a few ArrayRecord files, for sets larger than the memory.

A pack is a folder:

pack.json                  the number of images, the fingerprint, and the files with their sizes
index.csv                  file, label and part of each image, in order
images-00000.array_record  the image files as they are, in the order of the index

Names, labels, parts and order are those of the folder, so a run on the pack equals one on the
folder, except that its normalization is fitted to the first 4,096 training images. `pack.json` is
written last: without it, a pack is incomplete.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from crnn_jax.config import DataConfig
from crnn_jax.data import folder, listing, packed
from crnn_jax.data.image_io import MOST_BYTES, open_image
from crnn_jax.data.label_rows import MAX_BAD, Listing
from crnn_jax.errors import DataError
from crnn_jax.runtime import csv_rows, files

SHARD_BYTES = 2**28  # bytes of image files in one file of the pack
_CHUNK = 1024  # images that are read at a time


class Entry(NamedTuple):
    """An image to pack."""

    file: str
    label: str
    part: str  # train, val, test or ""
    content: bytes  # the image file
    pixels: bytes  # digest, see `folder.pixel_digest`


def write(
    config: DataConfig,
    to: str | os.PathLike[str],
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int], object] = lambda count: None,
) -> int:
    """Packs the folder of a config. Returns the number of images.

    Args:
      config: the data section; only dir, label_pattern and frame are used, and val_dir must be
        empty. An animation is stored whole; the fingerprint covers only this frame.
      to: the folder to create.
      shard_bytes: a file of the pack is closed when it has this many bytes of images.
      progress: called repeatedly with the number of images so far.

    Raises:
      DataError: `to` exists, files or labels cannot be used, the disk is full, or Grain is not
        installed.
    """
    packed.array_record()
    if Path(to).exists():
        raise DataError(f"{to} exists already; remove it, or choose another folder")
    if config.val_dir:
        raise DataError(
            "data.val_dir cannot be packed; pack one folder that has the folders train and val"
        )
    found = listing.checked(config)
    entries = _entries(config, found)
    return write_entries(entries, to, found.origin, bool(found.parts), shard_bytes, progress)


def write_entries(
    entries: Iterable[Entry],
    to: str | os.PathLike[str],
    origin: str,
    has_parts: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int], object] = lambda count: None,
) -> int:
    """Writes a pack of images that are sorted by file name. Returns their number.

    Args:
      entries: the images.
      to: the folder to create.
      origin: the origin of the labels.
      has_parts: whether the data set has its own training, validation and test parts.
      shard_bytes: see `write`.
      progress: see `write`.

    Raises:
      DataError: the folder cannot be written.
    """
    target = Path(to)
    files.make_folder(target)
    try:
        with _system_errors(target):
            count, shards, fingerprint = _fill(entries, target, has_parts, shard_bytes, progress)
            content = files.read(target / packed.INDEX, packed.MOST_BYTES)
            manifest = packed.Manifest(
                version=packed.VERSION,
                images=count,
                origin=origin,
                fingerprint=fingerprint,
                index_sha256=hashlib.sha256(content).hexdigest(),
                shards=shards,
            )
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
            files.write(target / packed.MANIFEST, text)
    except BaseException:
        files.remove(target)
        raise
    return count


def _fill(
    entries: Iterable[Entry],
    target: Path,
    has_parts: bool,
    shard_bytes: int,
    progress: Callable[[int], object],
) -> tuple[int, list[packed.Shard], str]:
    """Writes index and shards. Returns the number of images, the shards and the fingerprint."""
    writer_of = packed.array_record().ArrayRecordWriter
    fingerprint, count, size = hashlib.sha256(), 0, 0
    shards: list[packed.Shard] = []
    path = target / packed.INDEX
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        write_row = csv_rows.writer(out)
        write_row(packed.COLUMNS)
        writer: Any = None
        for entry in entries:
            if writer is None or size >= shard_bytes:
                if writer is not None:
                    writer.close()
                shards.append(packed.Shard(f"images-{len(shards):05d}.array_record", 0, 0))
                # One image in a group, because images are read one by one in random order; and
                # image files are compressed already.
                options = "group_size:1,uncompressed"
                writer, size = writer_of(os.fspath(target / shards[-1].file), options), 0
            writer.write(entry.content)
            size += len(entry.content)
            shards[-1].records += 1
            count += 1
            write_row((entry.file, entry.label, entry.part))
            folder.update_fingerprint(
                fingerprint, entry.file, entry.label, entry.pixels, entry.part, has_parts
            )
            if count % _CHUNK == 0:
                progress(count)
        if writer is not None:
            writer.close()
    for shard in shards:
        shard.bytes = (target / shard.file).stat().st_size
    return count, shards, fingerprint.hexdigest()


def _entries(config: DataConfig, found: Listing) -> Iterator[Entry]:
    """Yields the images of a folder. DataError, at the end, names all that cannot be used."""
    complaints: dict[str, str] = {}
    for file, content, pixels in _images(config, list(found.labels)):
        if isinstance(pixels, str):
            complaints[file] = pixels
            if len(complaints) > MAX_BAD:
                break
        else:
            yield Entry(file, found.labels[file], found.parts.get(file, ""), content, pixels)
    if complaints:
        raise DataError(listing.name_all(Path(config.dir), complaints))


def _images(config: DataConfig, names: Sequence[str]) -> Iterator[tuple[str, bytes, bytes | str]]:
    """Yields name, content, and the digest of the pixels, or why the file cannot be used."""

    def read(file: str) -> tuple[bytes, bytes | str]:
        try:
            source = folder.source_of(config, file)
            content = source if isinstance(source, bytes) else files.read(source, MOST_BYTES)
            return content, folder.pixel_digest(open_image(content, config.frame))
        except (ValueError, DataError) as error:
            return b"", str(error)
        except OSError as error:
            return b"", error.strerror or str(error)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            for file, (content, digest) in zip(part, pool.map(read, part), strict=True):
                yield file, content, digest


@contextlib.contextmanager
def _system_errors(target: Path) -> Iterator[None]:
    """Converts errors of writing, also those of ArrayRecord, to a DataError of one line."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error
    except (RuntimeError, io.UnsupportedOperation) as error:
        raise DataError(f"{target} cannot be written: {str(error).splitlines()[0]}") from error
