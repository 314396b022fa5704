"""Loads a trained reader from a run directory and reads images with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.config.data_keys import AUTO, Frame, auto_widths
from crnn_jax.errors import CrnnError, DataError, RunError
from crnn_jax.inference import (
    batch_reading,
    exported,
    hub,
    inputs,
    restoring,
    scheme_form,
    shipped,
)
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.explain import Explanation
from crnn_jax.inference.inputs import ImageInput
from crnn_jax.inference.readings import Readings
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn, decoding, greedy
from crnn_jax.models.decoding import Decoder
from crnn_jax.runs import run_dir, stored
from crnn_jax.runs.result import Result
from crnn_jax.runtime import processes

if TYPE_CHECKING:
    from crnn_jax.inference.set_evaluation import SetEvaluation

_ATTEMPTS = 50  # attempts to load a checkpoint of a run in training
_PAUSE = 0.1  # seconds between attempts


def load(run: str | os.PathLike[str], epoch: int | None = None) -> Recognizer:
    """Loads the reader of a run directory, with its best weights or those of another epoch.

    The run may still be in training. If it deletes a checkpoint that is being read, a newer one is
    loaded. 'general' is the reader that comes with the package (see `shipped`). A folder that
    was exported to safetensors can be loaded as well, and so can a reader on a model hub, by
    'hf://owner/name' or 'hf://owner/name@revision' (see `hub`).

    Raises:
      RunError: `run` or `epoch` is of another type, the path is no run directory, nothing was
        trained there, the run has no such epoch, its files cannot be read, its weights are not
        finite, or the hub does not have it.
      DamageError: its files are damaged; the message names the epochs that are intact.
      DeviceError: JAX cannot compute in this process.
    """
    processes.check()
    restoring.check_types(run, epoch)
    if isinstance(run, str) and shipped.is_name(run):
        return Recognizer(*restoring.shipped_parts(run, epoch))
    if hub.is_address(run):
        run = hub.fetch(os.fspath(run))
    if exported.is_export(run):
        return Recognizer(*restoring.exported_parts(run, epoch))
    if os.path.isfile(run):
        raise RunError(f"{os.fspath(run)} is a file and not a run directory")
    directory = run_dir.RunDir(run)
    for _ in range(_ATTEMPTS):
        before = stored.listing(directory.checkpoints)
        try:
            return Recognizer(*restoring.run_parts(directory, epoch))
        except RunError as error:
            failure = error
        # A run in training deletes a checkpoint file by file.
        time.sleep(_PAUSE)
        if stored.listing(directory.checkpoints) == before:
            break
    raise failure


class Recognizer:
    """Reads images with a trained model; `load` returns one.

    Attributes:
      config: the config of the run.
      charset: the symbols that it reads.
      model: the network, and the normalization of images.
      params: the weights.
      epoch: the epoch of the weights.
      fingerprint: the fingerprint of the data set that the reader was trained on.
      temperature: divides the logits for confidences.
      width_by_image: whether the input of each image has the width that fits its text, instead of
        data.width.
      typical: the energies of the validation part; None if they are not known.
      result: the result of the run, whose scores are those of its best epoch; None if it is not
        known.
    """

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
        typical: Typical | None = None,
        result: Result | None = None,
    ):
        self.config = config
        self.charset = charset
        self.model = model
        self.params = params
        self.epoch = epoch
        self.fingerprint = fingerprint
        self.temperature = temperature
        self.width_by_image = width_by_image
        self.typical = typical
        self.result = result

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the parameters as numpy arrays: they are unpickled without starting JAX."""
        return {**self.__dict__, "params": jax.device_get(self.params)}

    def decoder(
        self,
        *,
        beam: int = 0,
        length: int | tuple[int, int] | None = None,
        allowed: str | Sequence[str] | None = None,
        case: str = "keep",
        merge: str = "",
    ) -> Decoder:
        """Returns a decoder for this reader. For options and errors see `decoding.decoder`.

        Without `length` and `beam`, texts have the lengths of data.length.
        """
        steps, lengths = self._num_steps(), self.config.data.lengths
        if length is None and not beam and lengths and isinstance(allowed, str | None):
            length = (min(lengths[0], steps), min(lengths[1], steps))
        return decoding.decoder(self.charset, steps, beam, length, allowed, case, merge)

    def form_of(
        self,
        images: Iterable[ImageInput],
        *,
        length: int | tuple[int, int] | None = None,
        case: str = "keep",
        merge: str = "",
        order: str = "rgb",
        max_value: float | None = None,
        frame: str | None = None,
    ) -> Decoder:
        """Finds the lengths and symbols of the texts of one scheme, and returns a decoder for them.

        Reads at most 400 of the images twice (see `scheme_form`). Images that cannot be read are
        left out. For the other arguments see `decoder` and `predict`.

        Raises:
          ConfigError: fewer than ten of the images are read, or an option is invalid.
          DataError: `images` is neither an image nor an iterable, or the iterable raises.
        """
        form = inputs.Format(order, max_value, frame).check()
        items = list(inputs.each(images))
        if items and isinstance(items[-1], inputs.IterationError):
            raise items[-1]

        def make(**options: Any) -> Decoder:
            return self.decoder(**{"length": length, "case": case, "merge": merge, **options})

        def read(decoder: Decoder) -> list[Reading | DataError]:
            return list(self._stream(chosen, decoder, False, form))

        chosen = [items[i] for i in scheme_form.sample(len(items))]
        return scheme_form.of_images(chosen, read, make, self.charset.split)

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder | None = None,
        *,
        order: str = "rgb",
        max_value: float | None = None,
        frame: str | None = None,
    ) -> Readings[Reading]:
        """Reads one or many images. Returns a Reading (text, confidence) for each, in order.

        A notebook shows the list as a table with the images.

        Args:
          images: one image or an iterable of them. An image is a path, an open file or upload, the
            bytes of an image file, base64, a data URI, a Pillow image, or an array of any library:
            [H, W] or [H, W, C] (C 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA) of any size. An array
            [N, H, W], [N, H, W, C] or [N, C, H, W] counts as N images. A shape that allows two
            interpretations is refused.
          decoder: turns logits into texts; see the method `decoder`. By default, the decoder for
            the lengths of data.length.
          order: channel order of arrays, 'rgb', or 'bgr' as in OpenCV.
          max_value: the value of white in arrays, for example 1 or 255. Only u8 arrays need no
            declaration.
          frame: what to read from an animation: 'first', 'last', 'darkest' or 'mean'. The default
            is data.frame of the reader.

        Raises:
          DataError: `images` is neither an image nor an iterable, or some cannot be read; the
            message names them (the first 20, and the count of the others).
          ConfigError: `order`, `max_value` or `frame` is not allowed, or the decoder is that of a
            reader with other symbols.
          DeviceError: JAX cannot compute in this process, for example because it was forked.
        """
        form = inputs.Format(order, max_value, frame).check()
        return self._read_all(images, decoder, False, form)

    def explain(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder | None = None,
        *,
        order: str = "rgb",
        max_value: float | None = None,
        frame: str | None = None,
    ) -> Readings[Explanation]:
        """Like `predict`, with position and probability of each character, and alternatives."""
        form = inputs.Format(order, max_value, frame).check()
        return self._read_all(images, decoder, True, form)

    def stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder | None = None,
        explain: bool = False,
        *,
        order: str = "rgb",
        max_value: float | None = None,
        frame: str | None = None,
    ) -> Iterator[Any]:
        """Like `predict` or `explain`, one by one in bounded memory.

        Yields a Reading, or with `explain` an Explanation, for each image, in order. For an image
        that cannot be read it yields the DataError that says why. If the iterable raises, the last
        item is a DataError. Threads decode images one batch ahead of the model.

        Raises:
          DataError: `images` is neither an image nor an iterable.
          DeviceError: JAX cannot compute in this process.
          ConfigError: `order`, `max_value` or `frame` is not allowed, or the decoder is that of a
            reader with other symbols.
        """
        form = inputs.Format(order, max_value, frame).check()
        return self._stream(images, decoder, explain, form)

    def _stream(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder | None,
        explain: bool,
        form: inputs.Format,
    ) -> Iterator[Any]:
        """Checks the arguments of `stream` at the call, and not at the first image."""
        processes.check()
        items = inputs.each(images)
        return batch_reading.each(self, items, self.checked(decoder), explain, form)

    def evaluate(
        self,
        folder: str | os.PathLike[str] | None = None,
        decoder: Decoder | None = None,
        *,
        frame: Frame | None = None,
    ) -> SetEvaluation:
        """Scores the reader on every image of `folder`, or on its own validation part.

        The default decoder is that of `predict`. `frame` chooses what to read from the animations
        of a folder, as in `predict`.

        Raises:
          ConfigError: `frame` is not allowed, there is no folder, or the decoder is that of a
            reader with other symbols.
          DataError: images or labels cannot be used, for example because a character is not in the
            alphabet.
          DeviceError: JAX cannot compute in this process.
        """
        from crnn_jax.inference import set_evaluation  # imports all kinds of data sets

        processes.check()
        decoder = self.checked(decoder)
        inputs.Format(frame=frame).check()
        return set_evaluation.evaluate(self, folder, decoder, frame)

    def decode_batch_predictions(self, pred: Any) -> list[str]:
        """Returns the texts of predictions [B, T, K] over this reader's alphabet."""
        return greedy.texts_of(pred, self.charset)

    def to_input(
        self, image: ImageInput | DataError, form: inputs.Format = inputs.DEFAULT
    ) -> inputs.Decoded | DataError:
        """Converts an image to the model's input, or returns the reason why it cannot be read."""
        try:
            width = AUTO if self.width_by_image else self.config.data.width
            section = config_lib.with_width(self.config, width).data
            return inputs.decoded(inputs.to_image(image, form, section.frame), section)
        except CrnnError as error:
            return DataError(str(error))

    def checked(self, decoder: Decoder | None) -> Decoder:
        """Returns the decoder that was given, or that for data.length.

        Raises:
          ConfigError: it is that of a reader with other symbols or more steps, or no decoder.
        """
        if decoder is None:
            return self.decoder()
        return decoding.checked(decoder, self.charset, self._num_steps())

    def _num_steps(self) -> int:
        """Returns T; for the narrowest input if they differ."""
        section = self.config.data
        width = auto_widths(section.height)[0] if self.width_by_image else section.width
        return config_lib.num_steps(config_lib.with_width(self.config, width))

    def place_params(self) -> None:
        """Copies the parameters to the device, unless they are there."""
        if any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(self.params)):
            self.params = jax.device_put(self.params)  # unpickled, or from the package

    def _read_all(
        self,
        images: ImageInput | Iterable[ImageInput],
        decoder: Decoder | None,
        explain: bool,
        form: inputs.Format,
    ) -> Readings[Any]:
        decoder = self.checked(decoder)  # before a generator is read
        items = list(inputs.each(images))
        readings = list(self._stream(items, decoder, explain, form))
        inputs.check_all_read(items, readings)
        frame = self.config.data.frame if form.frame is None else form.frame
        return Readings(readings, items, form._replace(frame=frame))
