"""A folder of labelled pictures as arrays: reading, split and folds, batches.

Everything here is numpy on the host. The arrays of a whole data set stay uint8 and are put
on the device once; a training step receives only the indices of its batch.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crnn_jax.charset import Charset, required_steps
from crnn_jax.config import DataConfig
from crnn_jax.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
LABELS_FILE = "labels.csv"
_MAX_NAMED = 50  # bad files named one by one in an error; a longer list ends in a count

WHERE_TO_GET_IT = (
    "The default set is 'CAPTCHA Version 2 Images' (1040 PNGs of five characters; on Kaggle: "
    "fournierp/captcha-version-2-images; R. Wilhelmy and H. Rosas, 2013). Unpack it to "
    "data/captcha_images_v2, or point at a folder of your own, images named by their text, "
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

    def read(file: str) -> tuple[np.ndarray, bytes] | str:  # pixels and digest, or a complaint
        try:
            image = open_image(folder / file)
            native = f"{image.mode} {image.size} ".encode() + image.tobytes()
            return to_array(image, config), hashlib.sha256(native).digest()
        except DataError as error:
            return str(error) if (folder / file).exists() else "there is no such file"

    pictures: dict[str, tuple[np.ndarray, bytes]] = {}
    with ThreadPoolExecutor() as pool:
        for file, result in zip(listed, pool.map(read, listed), strict=True):
            if isinstance(result, str):
                complaints.setdefault(file, result)
            else:
                pictures[file] = result
    if complaints:
        raise DataError(_name_all(folder, complaints))

    digest = hashlib.sha256()
    for file, text in listed.items():
        for part in (file.encode(errors="surrogateescape"), text.encode(), pictures[file][1]):
            digest.update(len(part).to_bytes(8, "little") + part)
    return Dataset(
        name=folder.resolve().name,
        files=tuple(listed),
        texts=tuple(listed.values()),
        images=np.stack([array for array, _ in pictures.values()]),
        fingerprint=digest.hexdigest(),
    )


def open_image(source: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """Reads a picture whole: see `decode`. DataError says what is wrong with it."""
    try:
        with Image.open(source) as image:
            return decode(image)
    except UnidentifiedImageError as error:
        empty = isinstance(source, (str, os.PathLike)) and os.path.getsize(source) == 0
        raise DataError("empty file" if empty else "not an image") from error
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error
    # Pillow's decoders raise many kinds of errors on damaged bytes, SyntaxError among them.
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"not a readable image ({error})") from error


def decode(image: Image.Image) -> Image.Image:
    """Pixels as they are seen: upright by EXIF, palettes and transparency resolved to RGBA.

    Raises:
      DataError: the picture is damaged.
    """
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "P" or "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"not a readable image ({error})") from error
    return image


def flatten(image: Image.Image) -> Image.Image:
    """A decoded image on white, of eight bits."""
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 255 instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def to_array(image: Image.Image, config: DataConfig) -> np.ndarray:
    """A decoded image to u8 [W, H, C]: on white, grey or RGB, resized with antialiasing.

    The first axis is the width: it becomes the time axis of the model.
    """
    width, height, channels = config.width, config.height, config.channels
    image = flatten(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        # Pillow's filters widen with the reduction, which is what antialiasing means.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(image, np.uint8).reshape(height, width, channels)
    return array.transpose(1, 0, 2)


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


def _list_folder(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{file: text}, sorted by file name, and {file: complaint} of what cannot be used."""
    check_folder(folder)
    if (folder / LABELS_FILE).is_file():
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
        content = path.read_text(encoding="utf-8-sig")
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
    lines = [f"  {file}: {complaint}" for file, complaint in sorted(complaints.items())]
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


def epoch_order(train: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The training indices in the order of one epoch: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(train)
