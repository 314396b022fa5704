"""Reads images with a recognizer, in batches of decoded ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from crnn_jax.errors import DataError
from crnn_jax.inference import evaluate, pillow_images, typicality
from crnn_jax.inference import explain as explanation
from crnn_jax.inference.evaluate import BATCH, Reading
from crnn_jax.inference.inputs import Decoded, Format
from crnn_jax.models.decoding import Decoder

if TYPE_CHECKING:
    from crnn_jax.inference.recognizer import Recognizer


def each(
    reader: Recognizer, images: Iterator[Any], decoder: Decoder, explain: bool, form: Format
) -> Iterator[Any]:
    """Yields the result of `read` for each image, or the DataError that says why there is none.

    Threads decode images one batch ahead of the model.
    """
    reader.place_params()
    decode = functools.partial(reader.to_input, form=form)
    with ThreadPoolExecutor() as pool:
        ahead = pillow_images.submit(pool, decode, islice(images, BATCH))
        while decoded := [task.result() for task in ahead]:
            ahead = pillow_images.submit(pool, decode, islice(images, BATCH))
            whole = [item for item in decoded if isinstance(item, Decoded)]
            readings = iter(read(reader, whole, decoder, explain))
            for item in decoded:
                yield item if isinstance(item, DataError) else next(readings)


def read(
    reader: Recognizer, images: list[Decoded], decoder: Decoder, explain: bool
) -> Sequence[Any]:
    """Reads at most BATCH images, in one batch for each width.

    Returns:
      A Reading, or with `explain` an Explanation, for each image, in order.
    """
    readings: dict[int, Any] = {}
    for width in sorted({len(image.pixels) for image in images}):
        places = [i for i, image in enumerate(images) if len(image.pixels) == width]
        found = read_width(reader, [images[i] for i in places], decoder, explain)
        readings |= zip(places, found, strict=True)
    return [readings[i] for i in range(len(images))]


def read_width(
    reader: Recognizer,
    images: Sequence[Decoded],
    decoder: Decoder,
    explain: bool,
    size: int | None = None,
) -> Sequence[Any]:
    """Reads images of one width, padded to a batch of `size`.

    The default `size` is the next power of two, or of four if the reader needs programs for several
    widths, to limit the number of compiled programs. It allows at most BATCH images.
    """
    if size is None:
        power = (len(images) - 1).bit_length()
        size = min(BATCH, 1 << (power + power % 2 if reader.width_by_image else power))
    batch = np.zeros((size, *images[0].pixels.shape), np.uint8)
    batch[: len(images)] = [image.pixels for image in images]
    call = explanation.explain if explain else evaluate.read
    outputs = call(reader.params, batch, reader.temperature, model=reader.model, decoder=decoder)
    ids, log_probability, energies, *more = (
        rows[: len(images)] for rows in jax.device_get(outputs)
    )
    readings = [
        _judged(reader, *reading, energy)
        for reading, energy in zip(
            evaluate.to_readings(reader.charset, ids, log_probability),
            energies.tolist(),
            strict=True,
        )
    ]
    if not explain:
        return readings
    return [
        explanation.to_explanation(reader.charset, decoder, reading, image.span, *rows)
        for image, reading, *rows in zip(images, readings, ids, *more, strict=True)
    ]


def _judged(reader: Recognizer, text: str, confidence: float, energy: float) -> Reading:
    """Adds the typicality to a reading, and whether it counts as an answer."""
    if not text and reader.config.data.allow_empty:  # an energy needs symbols
        return Reading(text, confidence)
    value = reader.typical.of(energy) if reader.typical else None
    is_typical = value is None or value >= typicality.LIMIT
    return Reading(text, confidence, value, bool(text) and is_typical)
