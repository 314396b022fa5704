"""Loads a trained reader from a run directory and reads images with it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import jax
import numpy as np
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax import schema
from crnn_jax.charset import Charset
from crnn_jax.config import Config, DataConfig
from crnn_jax.data import image_io, normalization, resolve
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import ConfigError, CrnnError, DamageError, DataError, RunError, one_line
from crnn_jax.inference import evaluate, inputs, set_evaluation, shipped
from crnn_jax.inference import explain as explanation
from crnn_jax.inference.evaluate import BATCH, Reading
from crnn_jax.inference.explain import Explanation
from crnn_jax.inference.inputs import ImageInput
from crnn_jax.inference.set_evaluation import SetEvaluation
from crnn_jax.models import crnn, ctc_loss, decoding
from crnn_jax.models.decoding import GREEDY, Decoder
from crnn_jax.runs import record_types, run_dir, stored
from crnn_jax.runs.checkpoint import Checkpoints

_MAX_NAMED = 100  # images named one by one in an error
_ATTEMPTS = 50  # attempts to load a checkpoint of a run in training
_PAUSE = 0.1  # seconds between attempts


def load(run: str | os.PathLike[str], epoch: int | None = None) -> Recognizer:
    """Loads the reader of a run directory, with its best weights or those of another epoch.

    The run may still be in training. If it deletes a checkpoint that is being read, a newer one is
    loaded. 'general' is the reader that comes with the package (see `shipped`).

    Raises:
      RunError: the path is no run directory, nothing was trained there, the run has no such epoch,
        its files cannot be read, or its weights are not finite.
      DamageError: its files are damaged; the message names the epochs that are intact.
    """
    if isinstance(run, str) and shipped.is_name(run):
        return _load_shipped(run, epoch)
    directory = run_dir.RunDir(run)
    for _ in range(_ATTEMPTS):
        before = stored.listing(directory.checkpoints)
        try:
            return _load(directory, epoch)
        except RunError as error:
            failure = error
        # A run in training deletes a checkpoint file by file.
        time.sleep(_PAUSE)
        if stored.listing(directory.checkpoints) == before:
            break
    raise failure


def _load_shipped(name: str, epoch: int | None) -> Recognizer:
    if epoch:
        raise RunError(f"{name} comes with the package and has no epochs")
    stored = shipped.read(name)
    model = crnn.build(stored.config.model, stored.charset.num_classes, *stored.normalization)
    return Recognizer(
        stored.config,
        stored.charset,
        model,
        stored.params,
        0,
        stored.fingerprint,
        stored.temperature,
        stored.width_by_image,
    )


def _load(directory: run_dir.RunDir, epoch: int | None) -> Recognizer:
    run, config = directory.workdir, directory.config()
    result = directory.result()  # None while the run goes on, when nothing is calibrated yet
    with Checkpoints(directory.checkpoints, read_only=True) as checkpoints:
        epochs = checkpoints.epochs()
        if not epochs:
            raise RunError(f"{run} holds no checkpoint yet; train it first")
        if epoch is not None and epoch not in epochs:
            raise RunError(f"{run} keeps epochs {_list(epochs)}, and no epoch {epoch}")
        try:
            if epoch is None:
                epoch = _best_epoch(checkpoints.meta(epochs[-1]))
            return _restore(checkpoints, epoch, config, result)
        except DamageError as error:
            others = [e for e in epochs if _is_intact(checkpoints, e, config)]
            offer = f"; intact and read by --epoch: {_list(others)}" if others else ""
            raise DamageError(f"{error}{offer}") from error


class Recognizer:
    """Reads images with a trained model."""

    def __init__(
        self,
        config: Config,
        charset: Charset,
        model: crnn.Model,
        params: Any,
        epoch: int,
        fingerprint: str,
        temperature: float,
        width_by_image: bool = False,
    ):
        self.config = config
        self.charset = charset
        self.model = model
        self.params = params
        self.epoch = epoch  # epoch of the weights
        self.fingerprint = fingerprint  # of the data set that the reader was trained on
        self.temperature = temperature  # for confidences
        # The input of each image has the width that fits its text, instead of data.width.
        self.width_by_image = width_by_image

    def decoder(
        self,
        *,
        beam: int = 0,
        length: int | tuple[int, int] | None = None,
        allowed: str | Sequence[str] | None = None,
        case: str = "keep",
        merge: str = "",
    ) -> Decoder:
        """Returns a decoder for this reader. For options and errors see `decoding.decoder`."""
        section = self.config.data
        if self.width_by_image:
            section = dataclasses.replace(section, width=min(resolve.widths(section.height)))
        steps = config_lib.num_steps(dataclasses.replace(self.config, data=section))
        return decoding.decoder(self.charset, steps, beam, length, allowed, case, merge)

    def predict(
        self, images: ImageInput | Iterable[ImageInput], decoder: Decoder = GREEDY
    ) -> list[Reading]:
        """Reads one or many images. Returns a Reading (text, confidence) for each, in order.

        Args:
          images: paths, bytes of image files, Pillow images, or arrays u8 [H, W] or [H, W, C]
            (C 1 gray, 3 RGB, 4 RGBA) of any size; an array [N, H, W, C] counts as N images.
          decoder: turns logits into texts; see the method `decoder`.

        Raises:
          DataError: `images` is neither an image nor an iterable, or some cannot be read; the
            message names them (the first 100, and the count of the others).
        """
        return self._read_all(images, decoder, explain=False)

    def explain(
        self, images: ImageInput | Iterable[ImageInput], decoder: Decoder = GREEDY
    ) -> list[Explanation]:
        """Like `predict`, with place and probability of each character and alternative texts."""
        return self._read_all(images, decoder, explain=True)

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder = GREEDY,
        explain: bool = False,
    ) -> Iterator[Any]:
        """Like `predict` or `explain`, one by one in bounded memory.

        Yields a Reading, or with `explain` an Explanation, for each image, in order. For an image
        that cannot be read it yields the DataError that says why. If the iterable raises, the last
        item is a DataError. Threads decode images one batch ahead of the model.

        Raises:
          DataError: `images` is neither an image nor an iterable.
        """
        images = inputs.each(images)
        with ThreadPoolExecutor() as pool:
            ahead = pool.map(self.decode, list(islice(images, BATCH)))
            while decoded := list(ahead):
                ahead = pool.map(self.decode, list(islice(images, BATCH)))
                whole = [item for item in decoded if isinstance(item, inputs.Decoded)]
                readings = iter(self._read(whole, decoder, explain))
                for item in decoded:
                    yield item if isinstance(item, DataError) else next(readings)

    def evaluate(
        self, folder: str | os.PathLike[str] | None = None, decoder: Decoder = GREEDY
    ) -> SetEvaluation:
        """Scores the reader on every image of `folder`, or on its own validation part.

        Raises:
          DataError: images or labels cannot be used, for example because a character is not in the
            alphabet.
        """
        return set_evaluation.evaluate(self, folder, decoder)

    def decode_batch_predictions(self, pred: Any) -> list[str]:
        """Returns the texts of predictions [B, T, K] over this reader's alphabet."""
        return ctc_loss.decode_batch_predictions(pred, self.charset.alphabet)

    def decode(self, image: ImageInput | DataError) -> inputs.Decoded | DataError:
        """Converts an image to the model's input, or returns the reason why it cannot be read."""
        try:
            decoded = inputs.to_image(image)
            return inputs.decoded(decoded, self._section(decoded))
        except CrnnError as error:
            return DataError(str(error))

    def _section(self, image: Image.Image) -> DataConfig:
        """Returns the data section that an image is converted by."""
        section = self.config.data
        if not self.width_by_image:
            return section
        left, top, right, bottom = image_io.box(image_io.flatten(image), section.crop)
        width = resolve.fitting_width((right - left) / (bottom - top), section.height)
        return dataclasses.replace(section, width=width)

    def _read_all(
        self, images: ImageInput | Iterable[ImageInput], decoder: Decoder, explain: bool
    ) -> list[Any]:
        items = list(inputs.each(images))
        readings = list(self.stream(items, decoder, explain))
        bad = [
            f"  {one_line(inputs.path_of(item)) or f'number {i}'}: {reading}"
            for i, (item, reading) in enumerate(zip(items, readings, strict=True))
            if isinstance(reading, DataError)
        ]
        if bad:
            named = bad[:_MAX_NAMED]
            if len(bad) > _MAX_NAMED:
                named.append(f"  ... and {len(bad) - _MAX_NAMED} more")
            count = f"{len(bad)} of {len(items)} cannot be read"
            raise DataError(f"{count}:\n" + "\n".join(named))
        return readings

    def _read(self, images: list[inputs.Decoded], decoder: Decoder, explain: bool) -> Sequence[Any]:
        """Reads at most BATCH images, those of a width together."""
        readings: dict[int, Any] = {}
        for width in sorted({len(image.pixels) for image in images}):
            places = [i for i, image in enumerate(images) if len(image.pixels) == width]
            found = self._read_batch([images[i] for i in places], decoder, explain)
            readings |= zip(places, found, strict=True)
        return [readings[i] for i in range(len(images))]

    def _read_batch(
        self, images: list[inputs.Decoded], decoder: Decoder, explain: bool
    ) -> Sequence[Any]:
        """Reads at most BATCH images of one width."""
        # Padding to a power of two keeps the number of programs small.
        size = min(BATCH, 1 << (len(images) - 1).bit_length())
        batch = np.zeros((size, *images[0].pixels.shape), np.uint8)
        batch[: len(images)] = [image.pixels for image in images]
        call = explanation.explain if explain else evaluate.read
        outputs = call(self.params, batch, self.temperature, model=self.model, decoder=decoder)
        ids, log_probability, *more = (rows[: len(images)] for rows in jax.device_get(outputs))
        readings = evaluate.to_readings(self.charset, ids, log_probability)
        if not explain:
            return readings
        return [
            explanation.to_explanation(self.charset, reading, image.span, *rows)
            for image, reading, *rows in zip(images, readings, ids, *more, strict=True)
        ]


def _restore(
    checkpoints: Checkpoints, epoch: int, config: Config, result: run_dir.Result | None
) -> Recognizer:
    meta = checkpoints.meta(epoch)
    path = os.fspath(checkpoints.directory / str(epoch))
    try:
        schema.check(meta, record_types.ReaderMeta)
        charset = Charset(meta["alphabet"])
    except (ConfigError, schema.InvalidError) as error:
        raise DamageError(f"the checkpoint {path} is damaged: {error}") from error
    moments = Normalization.from_record(meta)
    normalization.check(moments, config.data.channels, path)
    model = crnn.build(config.model, charset.num_classes, *moments)
    shapes = jax.eval_shape(lambda: crnn.init(model, jax.random.key(0), config.data))
    params = checkpoints.restore(epoch, {"params": shapes})["params"]
    for name, array in crnn.by_name(params).items():
        if not np.isfinite(array).all():
            raise RunError(
                f"the checkpoint {path}: {name} holds numbers that are not finite; choose another "
                "epoch with --epoch"
            )
    # Only the best weights are calibrated. An import keeps the result of its original run.
    calibrated = result is not None and epoch in (result.best_epoch, 0)
    temperature = result.temperature if result and calibrated else 1.0
    return Recognizer(config, charset, model, params, epoch, meta["fingerprint"], temperature)


def _is_intact(checkpoints: Checkpoints, epoch: int, config: Config) -> bool:
    try:
        _restore(checkpoints, epoch, config, None)
    except RunError:
        return False
    return True


def _best_epoch(meta: dict[str, Any]) -> int:
    if "best_epoch" not in meta:
        raise DamageError("the latest checkpoint does not name its best_epoch")
    epoch: int = meta["best_epoch"]
    return epoch


def _list(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs))
