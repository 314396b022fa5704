"""Reads a folder of labeled images into arrays.

Everything here is numpy on the host. The images of a data set stay uint8 and are sent to the device
once; a training step receives only the indices of its batch.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import reprlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import direction, label_texts, listing, memory, packed, parquet
from crnn_jax.data.image_io import open_image, to_array
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.data.label_rows import MAX_BAD, Listing
from crnn_jax.data.listing import VAL_DIR
from crnn_jax.errors import DataError
from crnn_jax.runtime.files import inside

_CHUNK = 4096  # files that are passed to the threads at a time


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory, ordered by file name."""

    name: str  # name of the folder
    files: tuple[str, ...]  # relative to the folder; see `source_of`
    labels: tuple[str, ...]  # as found in the file names or label files
    texts: tuple[str, ...]  # labels after data.case and data.merge, for training and scores
    images: np.ndarray  # u8 [N, W, H, C]
    fingerprint: str  # sha256 over names, labels and pixels at their original size
    parts: tuple[str, ...] = ()  # train, val, test or "" of each image; or empty
    origin: str = ""  # origin of the labels: FILE_NAMES, or the label files with format
    notes: tuple[str, ...] = ()  # notes about the folder for the user
    warnings: tuple[str, ...] = ()  # files that are left out
    num_generated: int = 0  # generated images of a mixture, at the end

    def __len__(self) -> int:
        return len(self.files)


def load(config: DataConfig, charset: Charset | None, num_steps: int) -> Dataset:
    """Reads the folder `config.dir`.

    Args:
      config: the data section.
      charset: the allowed characters of labels; None allows any.
      num_steps: T, the time steps of the model, into which each label must fit.

    Raises:
      DataError: the folder is missing or empty, or files or labels are bad; the message names the
        first 50 and counts the others.
    """
    folder = Path(config.dir)
    found, texts = read_labels(config, charset, num_steps)
    advice = "pack them, with `crnn-jax pack`, to read them from the disk in every epoch"
    if packed.is_pack(folder):  # of a mixture, or of data.unlabeled
        advice = "such images must be in memory: raise data.memory_limit, or use fewer"
    memory.check(config, len(texts), f"{len(texts)} images in {folder}", advice)
    images, digests, bad = _read_images(config, list(texts))
    if complaints := bad | found.complaints:
        raise DataError(listing.name_all(folder, complaints))

    parts = tuple(found.parts.get(file, "") for file in texts) if found.parts else ()
    fingerprint = hashlib.sha256()
    for file, label in found.labels.items():
        part = found.parts.get(file, "")
        update_fingerprint(fingerprint, file, label, digests[file], part, bool(parts))
    return Dataset(
        name=folder.resolve().name,
        files=tuple(texts),
        labels=tuple(found.labels.values()),
        texts=tuple(texts.values()),
        images=images,
        fingerprint=fingerprint.hexdigest(),
        parts=parts,
        origin=found.origin,
        notes=found.notes,
        warnings=(*found.warnings, *direction.warnings(tuple(texts.values()), config)),
    )


def _read_images(
    config: DataConfig, files: list[str]
) -> tuple[np.ndarray, dict[str, bytes], dict[str, str]]:
    """Reads images until more than MAX_BAD of them are bad.

    Returns:
      The images, u8 [N, W, H, C]; the digests of their pixels, by file; and why files are bad.
    """
    try:
        images = np.empty((len(files), config.width, config.height, config.channels), np.uint8)
    except (MemoryError, ValueError) as error:
        size = memory.needed(config, len(files)) / 2**30
        raise DataError(
            f"{len(files)} images in {config.dir} need {size:.0f} GiB of memory; use fewer images, "
            "or a smaller data.width"
        ) from error

    def read(place: int, file: str) -> bytes | str:  # digest of the pixels, or an error message
        try:
            image = open_image(source_of(config, file), config.frame)
            images[place] = to_array(image, config)
            return pixel_digest(image)
        except ValueError as error:
            return str(error)
        except DataError as error:
            missing = str(error) == os.strerror(errno.ENOENT)
            return "there is no such file" if missing else str(error)
        except MemoryError:
            return "it needs more memory than is available"

    digests: dict[str, bytes] = {}
    bad: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), _CHUNK):
            part = files[start : start + _CHUNK]
            places = range(start, start + len(part))
            for file, found in zip(part, pool.map(read, places, part), strict=True):
                if isinstance(found, str):
                    bad[file] = found
                else:
                    digests[file] = found
            if len(bad) > MAX_BAD:
                break
    return images, digests, bad


def read_labels(
    config: DataConfig, charset: Charset | None, num_steps: int
) -> tuple[Listing, dict[str, str]]:
    """Lists the folder of a config, and checks the labels. For the arguments see `load`.

    Returns:
      The listing, with labels as found and with all complaints; and the labels after data.case and
      data.merge, by file. Without data.use_labels and data.test_size, all labels are empty.

    Raises:
      DataError: the folder is missing or empty, or has more than 10,000 bad labels.
    """
    reads_labels = config.use_labels or config.test_size > 0
    found = listing.of(config)
    if not reads_labels:
        found = found._replace(labels=dict.fromkeys(found.labels, ""))
    originals, complaints = found.labels, found.complaints
    fold = config.folding
    listed = {file: fold(text) for file, text in originals.items()}
    known = charset if config.use_labels else None  # unused labels may have any symbols
    for file, text in listed.items() if reads_labels else ():
        if not text and config.allow_empty:
            continue
        if complaint := label_texts.complaint(text, known, num_steps, config.marks):
            if not text and found.origin == FILE_NAMES and not config.label_pattern:
                complaint += (  # the text before the first underscore
                    ", because its name begins with an underscore; to use the text after it, set "
                    "data.label_pattern='^_+([^_]+)'"
                )
            if text != originals[file]:
                complaint += f" ({reprlib.repr(originals[file])} before data.case and data.merge)"
            complaints.setdefault(file, complaint + found.places.get(file, ""))
    if len(complaints) > MAX_BAD:
        raise DataError(listing.name_all(Path(config.dir), complaints))
    return found, listed


def pixel_digest(image: Image.Image) -> bytes:
    """Returns a digest of the pixels of an image at its own size."""
    native = f"{image.mode} {image.size} ".encode() + image.tobytes()
    return hashlib.sha256(native).digest()


def update_fingerprint(
    fingerprint: Any, file: str, label: str, pixels: bytes, part: str, has_parts: bool
) -> None:
    """Adds an image to the fingerprint of a data set, a sha256.

    Args:
      fingerprint: the hash of the previous images.
      file: the name of the image.
      label: as found, before data.case and data.merge.
      pixels: see `pixel_digest`.
      part: train, val, test or "".
      has_parts: whether the data set has its own parts.
    """
    items = [file.encode(errors="surrogateescape"), label.encode(), pixels]
    for item in [*items, part.encode()] if has_parts else items:
        fingerprint.update(len(item).to_bytes(8, "little") + item)


def source_of(config: DataConfig, file: str) -> Path | bytes:
    """Returns the path or the content of an image that a data set calls `file`.

    Args:
      config: the data section; its `dir` is the folder.
      file: a name relative to the folder, with `VAL_DIR` to that in data.val_dir. The name of an
        image in a parquet file ends in the number of its row.

    Raises:
      ValueError: the name leads out of the folder.
      DataError: a parquet file or a pack cannot be read.
    """
    folder = config.dir
    if packed.is_pack(folder):
        return packed.image(folder, file)
    if config.val_dir and file.startswith(VAL_DIR):
        folder, file = config.val_dir, file.removeprefix(VAL_DIR)
    path = inside(folder, file)
    if path.parent.suffix == parquet.SUFFIX and path.parent.is_file() and path.name.isdigit():
        return parquet.image(path.parent, int(path.name))
    return path


def uses_folder(config: DataConfig) -> bool:
    """Whether all or some of the images of a config come from a folder."""
    return config.source not in ("synthetic", "stream")
