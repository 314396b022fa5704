"""Loads a pack that is larger than the memory: its labels, and the images that must be in memory.

These are the validation and test parts, and the first SAMPLE training images, which decide the
normalization. The images are numbered anew, so that those in memory come first.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import direction, folder, listing, memory, packed, split_report
from crnn_jax.data.feed import Records
from crnn_jax.data.folder import Dataset
from crnn_jax.data.splits import Split
from crnn_jax.errors import DataError

SAMPLE = 4096  # training images that decide the normalization of a pack or a stream
_CHUNK = 64  # images that a thread reads at a time


def is_needed(config: DataConfig) -> bool:
    """Whether data.dir is a pack whose images need more memory than data.memory_limit."""
    if not packed.is_pack(config.dir):
        return False
    size = memory.needed(config, packed.manifest(config.dir).images)
    return size > memory.limit(config)


def load(
    config: DataConfig, charset: Charset | None, num_steps: int
) -> tuple[Dataset, Split, Records]:
    """Loads a pack as `folder.load` does, except for most training images.

    Returns:
      The data set, with only its first images in memory; its split; and all images, on disk.

    Raises:
      DataError: labels or images cannot be used, or validation and test part are too large.
    """
    if not config.use_labels or config.unlabeled:
        raise DataError(
            "images without labels must fit in the memory; increase data.memory_limit, or use "
            "fewer of them"
        )
    found, listed = folder.read_labels(config, charset, num_steps)
    if found.complaints:
        raise DataError(listing.name_all(Path(config.dir), found.complaints))
    files, texts = tuple(listed), tuple(listed.values())
    labels = tuple(found.labels.values())
    parts = tuple(found.parts.get(file, "") for file in files) if found.parts else ()
    nothing = np.empty((0, config.width, config.height, config.channels), np.uint8)
    pack = packed.manifest(config.dir)
    name = Path(config.dir).resolve().name
    origin, notes, warnings = found.origin, found.notes, found.warnings
    del found, listed  # each takes a hundred megabytes for a million images
    packed.forget_index()
    whole = Dataset(name, files, labels, texts, nothing, pack.fingerprint, parts, origin)
    split = split_report.split(whole, config)
    kept = np.concatenate((split.val, split.test, split.train[:SAMPLE]))
    memory.check(
        config,
        len(kept),
        f"the validation and test parts of {config.dir}",
        "lower data.val_fraction or data.test_size",
    )
    order = np.concatenate((kept, np.setdiff1d(np.arange(len(files), dtype=np.int32), kept)))
    places = np.empty(len(files), np.int32)
    places[order] = np.arange(len(files), dtype=np.int32)
    records = Records(config, order.astype(np.int32))
    print(
        f"{len(files)} images need {memory.needed(config, len(files)) / 2**30:.1f} GiB of memory, "
        f"and {memory.limit(config) / 2**30:.1f} GiB may be used (data.memory_limit), so they are "
        "read from the disk in every epoch",
        flush=True,
    )
    numbers = order.tolist()
    data = Dataset(
        name=name,
        files=tuple(files[i] for i in numbers),
        labels=tuple(labels[i] for i in numbers),
        texts=tuple(texts[i] for i in numbers),
        images=_read(records, len(kept)),
        fingerprint=pack.fingerprint,
        parts=tuple(parts[i] for i in numbers) if parts else (),
        origin=origin,
        notes=notes,
        warnings=(*warnings, *direction.warnings(texts, config)),
    )
    return data, Split(*(places[part] for part in split)), records


def _read(records: Records, count: int) -> np.ndarray:
    """Reads the first images, u8 [count, W, H, C]."""
    chunks = [np.arange(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(records.read, chunks)))
