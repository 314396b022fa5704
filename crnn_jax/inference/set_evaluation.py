"""Scores a reader on a folder, or on the validation part of its own data set."""

from __future__ import annotations

import dataclasses
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from crnn_jax import clusters
from crnn_jax import config as config_lib
from crnn_jax.config import DataConfig
from crnn_jax.config.data_keys import Frame
from crnn_jax.data import direction, label_report, listing, sources, splits, text_lengths
from crnn_jax.data.folder import Dataset, load, source_of, uses_folder
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.errors import ConfigError, DataError, quote
from crnn_jax.inference.evaluate import BATCH, Evaluation, LabeledImages, Reader, of_answers
from crnn_jax.inference.evaluate import evaluate as evaluate_images
from crnn_jax.inference.inputs import Decoded, Format
from crnn_jax.models.decoding import Decoder
from crnn_jax.runs.result import Answer

if TYPE_CHECKING:
    from crnn_jax.inference.recognizer import Recognizer


class SetEvaluation(NamedTuple):
    """A reader's evaluation on a data set, or on its validation part."""

    evaluation: Evaluation
    data_name: str
    fingerprint: str
    num_trained_on: int  # images among those read that the run was trained on; -1 if unknown


def evaluate(
    recognizer: Recognizer,
    folder: str | os.PathLike[str] | None,
    decoder: Decoder,
    frame: Frame | None,
) -> SetEvaluation:
    """Implements `Recognizer.evaluate`."""
    charset, num_steps = recognizer.charset, config_lib.num_steps(recognizer.config)
    reader = Reader(recognizer.model, recognizer.params, charset, recognizer.temperature, decoder)
    if folder is None:
        if frame is not None:
            raise ConfigError(
                "the validation part is read as in training (data.frame); another frame can be "
                "chosen only for a folder of images: name it with --data"
            )
        return _of_validation(recognizer, reader, num_steps)
    section = dataclasses.replace(_section(recognizer, folder), alphabet=charset.alphabet)
    if frame is not None:
        section = dataclasses.replace(section, frame=frame)
    data = load(section, charset, num_steps)
    labels = charset.encode(data.texts)
    if recognizer.width_by_image:
        evaluation = _by_width(recognizer, reader, data, section, labels)
    else:
        evaluation = _of_arrays(reader, data, labels, np.arange(len(data), dtype=np.int32))
    trained_on = -1
    if data.fingerprint == recognizer.fingerprint:
        trained_on = len(splits.split(data.texts, section, data.parts, data.labels).train)
    return SetEvaluation(evaluation, data.name, data.fingerprint, trained_on)


def _of_validation(recognizer: Recognizer, reader: Reader, num_steps: int) -> SetEvaluation:
    """Scores a reader on the validation part of the data set that it was trained on."""
    section = recognizer.config.data
    is_folder = uses_folder(section)
    changed = DataError(
        f"{section.dir if is_folder else 'the generator'} has changed since the run was trained, "
        "so its validation part is unknown; name a data set with --data"
    )
    # The fingerprint of generated images is known without drawing them.
    if not is_folder and sources.expected_fingerprint(section, num_steps) != recognizer.fingerprint:
        raise changed
    data, split, *_ = sources.load(section, num_steps)
    if data.fingerprint != recognizer.fingerprint:
        raise changed
    if not len(split.val):
        raise DataError("the run has no validation part; name a data set with --data")
    # Images that the run was not trained on may have symbols that its alphabet lacks.
    labels = recognizer.charset.encode(data.texts, skip_unknown=True)
    evaluation = _of_arrays(reader, data, labels, split.val)
    return SetEvaluation(evaluation, data.name, data.fingerprint, 0)


def _of_arrays(
    reader: Reader, data: Dataset, labels: np.ndarray, indices: np.ndarray
) -> Evaluation:
    arrays = jax.device_put((data.images, labels))
    images = LabeledImages(arrays[0], arrays[1], data.files, data.texts)
    return evaluate_images(reader, images, indices, BATCH)


def remarks(recognizer: Recognizer, folder: str | os.PathLike[str]) -> list[str]:
    """Returns what is left out of a folder when it is evaluated, and whether labels look misread.

    Raises:
      DataError: the folder cannot be read.
    """
    found = listing.checked(_section(recognizer, folder))
    pattern = recognizer.config.data.label_pattern
    is_named = found.origin == FILE_NAMES
    files, labels = list(found.labels), list(found.labels.values())
    return [
        *found.warnings,
        *label_report.warnings(files, labels, is_named, pattern),
        *direction.warnings(labels, recognizer.config.data),
        *_of_other_lengths(labels, recognizer.config.data),
    ]


def sources_of(recognizer: Recognizer, folder: str | os.PathLike[str]) -> list[Any]:
    """Returns the labeled images of a folder, as `Recognizer.predict` takes them.

    Raises:
      DataError: the folder cannot be read.
    """
    section = _section(recognizer, folder)
    return [source_of(section, file) for file in listing.checked(section).labels]


def _of_other_lengths(labels: list[str], data: DataConfig) -> list[str]:
    """Warns of labels whose length the reader does not read."""
    others = text_lengths.others(labels, data)
    if not others:
        return []
    longest = max(len(clusters.split(label, data.marks)) for label in labels)
    return [
        f"{len(others)} of {len(labels)} labels, such as {quote(others[0])}, do not have the "
        f"length that the reader reads ({data.length}); --length 0-{longest} reads them too"
    ]


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
    recognizer: Recognizer, reader: Reader, data: Dataset, section: DataConfig, labels: np.ndarray
) -> Evaluation:
    """Scores a reader on every image of a folder, each at its own width."""
    decode = functools.partial(recognizer.to_input, form=Format(frame=section.frame))
    with ThreadPoolExecutor() as pool:
        images = [source_of(section, file) for file in data.files]
        decoded = list(pool.map(decode, images))
    pixels = [item.pixels for item in decoded if isinstance(item, Decoded)]
    if len(pixels) != len(data):
        raise DataError(f"{section.dir} changed while it was read; evaluate again")
    answers: dict[int, Answer] = {}
    for width in sorted(set(map(len, pixels))):
        places = [i for i, image in enumerate(pixels) if len(image) == width]
        group = dataclasses.replace(
            data,
            images=np.stack([pixels[i] for i in places]),
            files=tuple(data.files[i] for i in places),
            texts=tuple(data.texts[i] for i in places),
        )
        indices = np.arange(len(places), dtype=np.int32)
        found = _of_arrays(reader, group, labels[places], indices).answers
        answers |= zip(places, found, strict=True)
    return of_answers([answers[i] for i in range(len(data))])
