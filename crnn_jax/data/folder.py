"""Reads a folder of labeled images into arrays.

Everything here is numpy on the host. The images of a data set stay uint8 and are sent to the device
once; a training step receives only the indices of its batch.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import heapq
import math
import os
import re
import reprlib
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import label_files
from crnn_jax.data.image_io import IMAGE_SUFFIXES, open_image, to_array
from crnn_jax.data.label_files import LABELS_FILE, MAX_BAD
from crnn_jax.errors import DataError, one_line
from crnn_jax.runtime import files as disk

_MAX_NAMED = 50  # bad files that an error lists; the others are counted
_CHUNK = 4096  # files that are passed to the threads at a time

WHERE_TO_GET_IT = (
    "The default set is 'CAPTCHA Version 2 Images' (1040 PNGs of five characters; on Kaggle: "
    "fournierp/captcha-version-2-images; R. Wilhelmy and H. Rosas, 2013). `python -m crnn_jax "
    "fetch` downloads it to data/captcha_images_v2. Or train on generated images with "
    "--config.data.source=synthetic, or on a folder of your own, with images named by their text, "
    "with --config.data.dir=FOLDER"
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory, ordered by file name."""

    name: str  # of the folder
    files: tuple[str, ...]  # relative to the folder
    labels: tuple[str, ...]  # as found in the file names or labels.csv
    texts: tuple[str, ...]  # labels after data.case and data.merge, for training and scores
    images: np.ndarray  # u8 [N, W, H, C]
    fingerprint: str  # sha256 over names, labels and pixels at their original size

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
    reads_labels = config.use_labels or config.test_size > 0
    try:
        if reads_labels:
            listed, complaints = _list_folder(folder, config.label_pattern)
        else:
            listed, complaints = _list_images(folder)
    except OSError as error:
        path = one_line(os.fsdecode(error.filename or folder))
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"data.dir is not a valid folder name: {error}") from error
    if not listed and not complaints:
        raise DataError(f"{folder} contains no images. {WHERE_TO_GET_IT}")
    fold = config.folding
    labels = listed if reads_labels else dict.fromkeys(listed, "")
    listed = {file: fold(text) for file, text in labels.items()}
    known = charset if config.use_labels else None  # symbols of unused labels are no fault
    for file, text in listed.items() if reads_labels else ():
        if not text and config.allow_empty:
            continue
        if complaint := label_files.complaint(text, known, num_steps):
            if text != labels[file]:
                complaint += f" ({reprlib.repr(labels[file])} before data.case and data.merge)"
            complaints.setdefault(file, complaint)
    if len(complaints) > MAX_BAD:
        raise DataError(_name_all(folder, complaints))

    shape = (len(listed), config.width, config.height, config.channels)
    try:
        images = np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{len(listed)} images in {folder} need {math.prod(shape) / 2**30:.0f} GiB of memory; "
            "use fewer images, or a smaller data.width"
        ) from error
    pixels: dict[str, bytes] = {}  # digests

    def read(place: int, file: str) -> bytes | str:  # digest of the pixels, or an error message
        try:
            image = open_image(disk.inside(folder, file), config.frame)
            native = f"{image.mode} {image.size} ".encode() + image.tobytes()
            images[place] = to_array(image, config)
            return hashlib.sha256(native).digest()
        except ValueError as error:
            return str(error)
        except DataError as error:
            missing = str(error) == os.strerror(errno.ENOENT)
            return "there is no such file" if missing else str(error)
        except MemoryError:
            return "it needs more memory than is available"

    files = list(listed)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), _CHUNK):
            part = files[start : start + _CHUNK]
            places = range(start, start + len(part))
            for file, found in zip(part, pool.map(read, places, part), strict=True):
                if isinstance(found, str):
                    complaints.setdefault(file, found)
                else:
                    pixels[file] = found
            if len(complaints) > MAX_BAD:
                break
    if complaints:
        raise DataError(_name_all(folder, complaints))

    digest = hashlib.sha256()
    for file, text in labels.items():
        for item in (file.encode(errors="surrogateescape"), text.encode(), pixels[file]):
            digest.update(len(item).to_bytes(8, "little") + item)
    return Dataset(
        name=folder.resolve().name,
        files=tuple(listed),
        labels=tuple(labels.values()),
        texts=tuple(listed.values()),
        images=images,
        fingerprint=digest.hexdigest(),
    )


def label_of(file: str, pattern: str = "") -> str:
    """Returns the label in a file name; an empty string if the pattern does not match.

    The label is composed (NFC), because some file systems store names in decomposed Unicode.

    Args:
      file: the name of the file.
      pattern: a regular expression whose one group is the label. It is searched in the name without
        its extension. If empty, the label is the name up to the first underscore.
    """
    stem = unicodedata.normalize("NFC", Path(file).stem)
    if not pattern:
        return stem.split("_")[0]
    found = re.search(pattern, stem)
    return (found[1] or "") if found else ""


def labels(folder: str | os.PathLike[str], pattern: str = "") -> dict[str, str]:
    """Returns {file: label} of a folder, sorted by file name, without reading the images.

    Raises:
      DataError: the folder is missing or cannot be read, or files or labels cannot be used.
    """
    try:
        listed, complaints = _list_folder(Path(folder), pattern)
    except OSError as error:
        raise DataError(f"{one_line(os.fspath(folder))} cannot be read: {error}") from error
    if complaints:
        raise DataError(_name_all(Path(folder), complaints))
    return listed


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the images in a folder, sorted. DataError: it cannot be read."""
    try:
        return list(_list_images(Path(folder))[0])
    except OSError as error:
        raise DataError(f"{one_line(os.fspath(folder))} cannot be read: {error}") from error


def check_folder(folder: Path) -> None:
    """Raises DataError unless `folder` is an existing folder."""
    if not folder.exists():
        raise DataError(f"there is no folder {folder}. {WHERE_TO_GET_IT}")
    if not folder.is_dir():
        raise DataError(f"data.dir is {folder}, which is a file; it must be a folder of images")


def uses_folder(config: DataConfig) -> bool:
    """Whether all or some of the images of a config come from a folder."""
    return config.source not in ("synthetic", "stream")


def _list_folder(folder: Path, pattern: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns {file: text}, sorted by name, and {file: complaint} for files that cannot be used."""
    check_folder(folder)
    if os.path.lexists(folder / LABELS_FILE):
        return label_files.read(folder / LABELS_FILE)
    listed, foreign = _list_images(folder)
    listed = {file: label_of(file, pattern) for file in listed}
    if pattern:
        for file in (file for file, text in listed.items() if not text):
            foreign.setdefault(file, "data.label_pattern finds no label in its name")
    return listed, foreign


def _list_images(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Like `_list_folder`, without labels. A file of labels is ignored."""
    check_folder(folder)
    # All visible files are listed, so that an image with a mistyped extension is reported.
    files = sorted(
        p.name
        for p in folder.iterdir()
        if not p.is_dir() and p.name[0] != "." and p.name != LABELS_FILE
    )
    foreign = {f: "not an image" for f in files if Path(f).suffix.lower() not in IMAGE_SUFFIXES}
    if len(foreign) == len(files):
        return {}, {}
    return dict.fromkeys(files, ""), foreign


def _name_all(folder: Path, complaints: dict[str, str]) -> str:
    named = heapq.nsmallest(_MAX_NAMED, complaints.items())
    lines = [f"  {one_line(f)}: {complaint}" for f, complaint in named]
    if len(complaints) > _MAX_NAMED:
        lines.append(f"  ... and {len(complaints) - _MAX_NAMED} more")
    count = f"{len(complaints)} file{'s' if len(complaints) > 1 else ''}"
    if len(complaints) > MAX_BAD:
        count = f"at least {count}"
    return f"{count} in {one_line(str(folder))} cannot be used; fix or remove:\n" + "\n".join(lines)
