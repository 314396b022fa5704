"""A folder of labelled pictures as arrays: reading, split and folds, batches.

Everything here is numpy on the host. The arrays of a whole data set stay uint8 and are put
on the device once; a training step receives only the indices of its batch.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crnn_jax import disk
from crnn_jax.charset import Charset, required_steps
from crnn_jax.config import DEFAULT_DIR, Config, DataConfig
from crnn_jax.errors import DataError, one_line
from crnn_jax.picture import IMAGE_SUFFIXES, open_image, to_array

LABELS_FILE = "labels.csv"
_MAX_NAMED = 50  # bad files named one by one in an error; a longer list ends in a count

WHERE_TO_GET_IT = (
    "The default set is 'CAPTCHA Version 2 Images' (1040 PNGs of five characters; on Kaggle: "
    "fournierp/captcha-version-2-images; R. Wilhelmy and H. Rosas, 2013). `python -m crnn_jax "
    "fetch` puts it into data/captcha_images_v2; or train on generated pictures with "
    "--config.data.source=synthetic, or point at a folder of your own, images named by their text, "
    "with --config.data.dir=FOLDER"
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory, ordered by file name."""

    name: str  # of the folder
    files: tuple[str, ...]  # relative to the folder
    texts: tuple[str, ...]
    images: np.ndarray  # u8 [N, W, H, C]
    fingerprint: str  # sha256 over names, labels and pixels at their original size

    def __len__(self) -> int:
        return len(self.files)


# ---------------------------------------------------------------------------- reading


def load(config: DataConfig, charset: Charset | None, num_steps: int) -> Dataset:
    """Reads the folder `config.dir`.

    Args:
      config: the data section.
      charset: the alphabet that labels must keep to; None allows any character.
      num_steps: T, the time steps into which each label must fit.

    Raises:
      DataError: the folder is missing or empty, or files or labels are bad; it names all.
    """
    folder = Path(config.dir)
    try:
        listed, complaints = _list_folder(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    if not listed:
        raise DataError(f"{folder} holds no images. {WHERE_TO_GET_IT}")
    for file, text in listed.items():
        if complaint := _label_complaint(text, charset, num_steps):
            complaints.setdefault(file, complaint)

    images = np.empty((len(listed), config.width, config.height, config.channels), np.uint8)
    pixels: dict[str, bytes] = {}  # digests

    def read(place: int, file: str) -> bytes | str:  # digest of the pixels, or a complaint
        try:
            image = open_image(disk.inside(folder, file))
            native = f"{image.mode} {image.size} ".encode() + image.tobytes()
            images[place] = to_array(image, config)
            return hashlib.sha256(native).digest()
        except ValueError as error:
            return str(error)
        except DataError as error:
            missing = str(error) == os.strerror(errno.ENOENT)
            return "there is no such file" if missing else str(error)

    with ThreadPoolExecutor() as pool:
        for file, result in zip(listed, pool.map(read, range(len(listed)), listed), strict=True):
            if isinstance(result, str):
                complaints.setdefault(file, result)
            else:
                pixels[file] = result
    if complaints:
        raise DataError(_name_all(folder, complaints))

    digest = hashlib.sha256()
    for file, text in listed.items():
        for part in (file.encode(errors="surrogateescape"), text.encode(), pixels[file]):
            digest.update(len(part).to_bytes(8, "little") + part)
    return Dataset(
        name=folder.resolve().name,
        files=tuple(listed),
        texts=tuple(listed.values()),
        images=images,
        fingerprint=digest.hexdigest(),
    )


def label_of(file: str) -> str:
    """The text that a file name gives: up to the extension, and up to the first underscore.

    Composed Unicode (NFC), since some file systems store names decomposed.
    """
    return unicodedata.normalize("NFC", Path(file).stem.split("_")[0])


def check_folder(folder: Path) -> None:
    """DataError unless there is such a folder."""
    if not folder.exists():
        raise DataError(f"there is no folder {folder}. {WHERE_TO_GET_IT}")
    if not folder.is_dir():
        raise DataError(f"data.dir is {folder}, a file; it must be a folder of images")


def resolve(config: Config) -> Config:
    """The config with its data's source 'auto' as what it comes to on this machine.

    Only the default folder may be absent: any other was named by a person, who wants to know.
    """
    if config.data.source != "auto":
        return config
    absent = config.data.dir == DEFAULT_DIR and not Path(DEFAULT_DIR).exists()
    data = dataclasses.replace(config.data, source="synthetic" if absent else "folder")
    return dataclasses.replace(config, data=data)


def uses_folder(config: DataConfig) -> bool:
    """Whether the pictures of a config, all or some of them, are in a folder."""
    return config.source not in ("synthetic", "stream")


def _list_folder(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{file: text}, sorted by file name, and {file: complaint} of what cannot be used."""
    check_folder(folder)
    if (folder / LABELS_FILE).exists():
        return _read_labels_file(folder / LABELS_FILE)
    # Every visible file counts: a picture with a mistyped extension must not vanish in silence.
    files = sorted(p.name for p in folder.iterdir() if not p.is_dir() and p.name[0] != ".")
    foreign = {f: "not an image" for f in files if Path(f).suffix.lower() not in IMAGE_SUFFIXES}
    if len(foreign) == len(files):
        return {}, {}
    return {file: label_of(file) for file in files}, foreign


def _read_labels_file(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    listed: dict[str, str] = {}
    complaints: dict[str, str] = {}
    try:
        content = disk.read(path).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path} must begin with the header file,label; it has {rows.fieldnames}"
            )
        for row in rows:
            file, text = row["file"] or "", unicodedata.normalize("NFC", row["label"] or "")
            if file in listed:
                complaints[file] = f"listed twice in {LABELS_FILE}"
            elif None in row:
                complaints[file] = f"more fields than the header in {LABELS_FILE}"
            elif text != text.strip() or len(text.splitlines()) > 1:
                complaints[file] = f"its label {text!r} begins or ends in white space, or has lines"
            listed[file] = text
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    return dict(sorted(listed.items())), complaints


def _label_complaint(text: str, charset: Charset | None, num_steps: int) -> str | None:
    if not text:
        return "its label is empty"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "its name is not valid UTF-8"
    if charset and (unknown := charset.unknown(text)):
        return f"its label {text!r} has {unknown!r}, not in the alphabet {charset.alphabet!r}"
    if required_steps(text) > num_steps:
        return (
            f"its label {text!r} needs {required_steps(text)} time steps (a blank between equal "
            f"neighbours included) and the model has {num_steps}; a larger data.width gives more"
        )
    return None


def _name_all(folder: Path, complaints: dict[str, str]) -> str:
    lines = [f"  {one_line(f)}: {complaint}" for f, complaint in sorted(complaints.items())]
    if len(lines) > _MAX_NAMED:
        lines[_MAX_NAMED:] = [f"  ... and {len(lines) - _MAX_NAMED} more"]
    count = f"{len(complaints)} file{'s' if len(complaints) > 1 else ''}"
    return f"{count} in {folder} cannot be used; mend or remove:\n" + "\n".join(lines)


# ---------------------------------------------------------------------- split and folds


class Split(NamedTuple):
    train: np.ndarray  # i32 [number of training images], indices into the data set
    val: np.ndarray  # i32 [number of validation images]


def split(texts: Sequence[str], config: DataConfig) -> Split:
    """Splits a data set by label, with `config.split_seed` alone.

    Images of one label stay on one side: a reader could know it by heart. With `num_folds`,
    part `fold` is for validation; else the first `val_fraction` of the same shuffle, so that
    fold 0 of ten is the 90/10 split. Training indices are shuffled; `train_size` takes the
    first ones, so a smaller set is part of every larger one.

    Raises:
      DataError: a side would be empty, or train_size is more than there is.
    """
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(text, []).append(index)
    shuffled = np.random.default_rng(config.split_seed).permutation(sorted(groups))
    if config.num_folds:
        # Part k takes the labels whose first image is in the k-th of num_folds equal stretches.
        def in_val(start: int) -> bool:
            return start * config.num_folds // len(texts) == config.fold
    else:
        num_val = len(texts) - int(len(texts) * (1 - config.val_fraction))

        def in_val(start: int) -> bool:
            return start < num_val

    train: list[int] = []
    val: list[int] = []
    start = 0
    for text in shuffled:
        (val if in_val(start) else train).extend(groups[text])
        start += len(groups[text])
    if not train or not val:
        what = f"{len(texts)} images of {len(groups)} labels"
        raise DataError(f"{what} leave the training or the validation part empty; add images")
    if config.train_size > len(train):
        raise DataError(f"data.train_size is {config.train_size}; there are {len(train)} images")
    train = train[: config.train_size or None]
    return Split(np.array(train, np.int32), np.array(sorted(val), np.int32))


# ------------------------------------------------------------------------------ batches


def batches(indices: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cuts indices [n] into (i32 [B], bool mask [B]); the last batch is padded with index 0."""
    for start in range(0, len(indices), batch_size):
        chunk = indices[start : start + batch_size]
        padded = np.zeros(batch_size, np.int32)
        padded[: len(chunk)] = chunk
        yield padded, np.arange(batch_size) < len(chunk)


def calls(
    indices: np.ndarray, batch_size: int, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`batches` in stacks of `most`, i32 [S, B] and bool [S, B]; the last may be shorter."""
    stacked = [np.stack(part) for part in zip(*batches(indices, batch_size), strict=True)]
    for start in range(0, len(stacked[0]) if stacked else 0, most):
        yield stacked[0][start : start + most], stacked[1][start : start + most]


def epoch_order(train: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The training indices in the order of one epoch: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(train)
