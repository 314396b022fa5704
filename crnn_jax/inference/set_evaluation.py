"""Scores a reader on a folder, or on the validation part of its own data set."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import folder as dataset
from crnn_jax.data import label_report, listing, sources, splits
from crnn_jax.data.folder import Dataset
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.errors import DataError
from crnn_jax.inference.evaluate import BATCH, Evaluation, LabeledImages, Reader, of_answers
from crnn_jax.inference.evaluate import evaluate as evaluate_images
from crnn_jax.inference.inputs import Decoded
from crnn_jax.models.decoding import Decoder
from crnn_jax.runs.run_dir import Answer

if TYPE_CHECKING:
    from crnn_jax.inference.recognizer import Recognizer


class SetEvaluation(NamedTuple):
    """A reader's evaluation on a data set, or on its validation part."""

    evaluation: Evaluation
    data_name: str
    fingerprint: str
    num_trained_on: int  # images among those read that the run was trained on; -1 if unknown


def evaluate(
    recognizer: Recognizer, folder: str | os.PathLike[str] | None, decoder: Decoder
) -> SetEvaluation:
    """Does what `Recognizer.evaluate` says."""
    section = recognizer.config.data if folder is None else _section(recognizer, folder)
    # Images that the run was not trained on may have symbols that its alphabet lacks.
    is_partial = folder is None
    if not is_partial:
        section = dataclasses.replace(section, alphabet=recognizer.charset.alphabet)
    num_steps = config_lib.num_steps(recognizer.config)
    if folder is not None:
        data = dataset.load(section, Charset(section.alphabet), num_steps)
        split = None
    else:
        data, split, *_ = sources.load(section, num_steps)
    same = data.fingerprint == recognizer.fingerprint
    if split is None:
        indices = np.arange(len(data), dtype=np.int32)
        own = splits.split(data.texts, section, data.parts) if same else None
        trained_on = len(own.train) if own else -1
    elif same and len(split.val):
        indices, trained_on = split.val, 0
    elif same:
        raise DataError("the run has no validation part; name a data set with --data")
    else:
        raise DataError(
            f"{section.dir} is not the data set that the run was trained on any more: its "
            "validation part is unknown. Name a data set with --data"
        )
    reader = Reader(
        recognizer.model, recognizer.params, recognizer.charset, recognizer.temperature, decoder
    )
    labels = recognizer.charset.encode(data.texts, skip_unknown=is_partial)
    if recognizer.width_by_image and folder is not None:
        evaluation = _by_width(recognizer, reader, data, Path(folder), labels)
    else:
        arrays = jax.device_put((data.images, labels))
        images = LabeledImages(arrays[0], arrays[1], data.files, data.texts)
        evaluation = evaluate_images(reader, images, indices, BATCH)
    return SetEvaluation(evaluation, data.name, data.fingerprint, trained_on)


def remarks(recognizer: Recognizer, folder: str | os.PathLike[str]) -> list[str]:
    """Returns what is left out of a folder when it is evaluated, and whether labels look misread.

    Raises:
      DataError: the folder cannot be read.
    """
    found = listing.checked(_section(recognizer, folder))
    pattern = recognizer.config.data.label_pattern
    is_named = found.origin == FILE_NAMES
    files, labels = list(found.labels), list(found.labels.values())
    return [*found.warnings, *label_report.warnings(files, labels, is_named, pattern)]


def _section(recognizer: Recognizer, folder: str | os.PathLike[str]) -> DataConfig:
    """Returns the data section for all images of a labeled folder."""
    return dataclasses.replace(
        recognizer.config.data,
        dir=os.fspath(folder),
        val_dir="",
        source="folder",
        use_labels=True,
        unlabeled="",
    )


def _by_width(
    recognizer: Recognizer, reader: Reader, data: Dataset, folder: Path, labels: np.ndarray
) -> Evaluation:
    """Scores a reader on every image of `folder`, each at its own width."""
    with ThreadPoolExecutor() as pool:
        section = _section(recognizer, folder)
        images = [dataset.source_of(section, file) for file in data.files]
        decoded = list(pool.map(recognizer.decode, images))
    pixels = [item.pixels for item in decoded if isinstance(item, Decoded)]
    if len(pixels) != len(data):
        raise DataError(f"{folder} changed while it was read; evaluate again")
    answers: dict[int, Answer] = {}
    for width in sorted(set(map(len, pixels))):
        places = [i for i, image in enumerate(pixels) if len(image) == width]
        arrays = jax.device_put((np.stack([pixels[i] for i in places]), labels[places]))
        files, texts = zip(*((data.files[i], data.texts[i]) for i in places), strict=True)
        group = LabeledImages(arrays[0], arrays[1], files, texts)
        indices = np.arange(len(places), dtype=np.int32)
        found = evaluate_images(reader, group, indices, BATCH).answers
        answers |= zip(places, found, strict=True)
    return of_answers([answers[i] for i in range(len(data))])
