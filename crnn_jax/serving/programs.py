"""A reader with its compiled programs: the few batch sizes that a server reads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.config.data_keys import auto_widths
from crnn_jax.data import image_io
from crnn_jax.errors import DataError
from crnn_jax.inference import batch_reading, contents, inputs
from crnn_jax.inference.inputs import Decoded
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models.decoding import Decoder
from crnn_jax.runtime import backend, cpu_devices, processes

# Each program takes seconds to compile. On a CPU, time grows with the images of a batch, so that
# larger batches gain little.
_SIZES = (1, 4, 16, 64, 256)
_CPU_BATCH, _ACCELERATOR_BATCH = 16, 64
# Images of an explained batch: such programs take longer to compile, and are called less often.
_EXPLAINED = 4
_LEAST_FILLED = 0.75  # share of a batch on a CPU, where padding takes as long as images


class Programs:
    """Reads batches of a few sizes with a recognizer."""

    def __init__(
        self,
        reader: Recognizer,
        decoder: Decoder | None = None,
        form: inputs.Format = inputs.DEFAULT,
        max_batch: int = 0,
    ):
        """Chooses the sizes.

        Args:
          reader: the reader.
          decoder: how texts are decoded; by default as in `Recognizer.predict`.
          form: what to read from animations.
          max_batch: the largest batch; 0 for a default that depends on the device.

        Raises:
          ConfigError: the decoder is that of a reader with other symbols.
          DeviceError: JAX cannot compute in this process.
        """
        processes.check()
        is_cpu = backend.choices() is backend.CPU
        most = max_batch or (_CPU_BATCH if is_cpu else _ACCELERATOR_BATCH)
        self.sizes = (*(size for size in _SIZES if size < most), most)
        self._least_filled = _LEAST_FILLED if is_cpu else 0.0
        self.reader, self._form = reader, form
        self.decoder = reader.checked(decoder)

    @property
    def count(self) -> int:
        """The number of programs that `warm_up` compiles."""
        return len(self._all())

    def warm_up(self) -> None:
        """Compiles all programs, or loads them from the cache of compiled programs."""
        self.reader.place_params()
        with ThreadPoolExecutor(cpu_devices.available(), "compile") as pool:
            list(pool.map(self._compile, self._all()))

    def decode(self, content: bytes | str) -> Decoded | DataError:
        """Decodes an image file to the model's input. Text is base64 or a data URI."""
        if isinstance(content, str):
            try:
                content = contents.of_base64(content)
            except DataError as error:
                return error
        found = self.reader.to_input(content, self._form)
        if isinstance(found, DataError) and str(found).startswith(image_io.SEVERAL_FRAMES):
            remedy = "send one, or start the server with --frame"  # the error names a config key
            return DataError(f"{image_io.SEVERAL_FRAMES}; {remedy}")
        return found

    def batch_size(self, count: int, explain: bool) -> int:
        """Returns the size of the next batch if `count` images are ready.

        It is the largest size that the images fill, or the next one if they nearly fill that. On an
        accelerator, where padding costs little, it is the least size that holds all of them.
        """
        sizes = [size for size in self.sizes if not explain or size <= _EXPLAINED]
        best = sizes[0]
        for size in sizes:
            if count >= size or (count > best and count >= self._least_filled * size):
                best = size
        return best

    def read(self, images: Sequence[Decoded], size: int, explain: bool) -> Sequence[Any]:
        """Reads images of one width, padded to a batch of `size`."""
        return batch_reading.read_width(self.reader, images, self.decoder, explain, size)

    def _all(self) -> list[tuple[int, int, bool]]:
        """Returns width, size and kind of each program, those that take longest first."""
        section = self.reader.config.data
        widths = [section.width]
        if self.reader.width_by_image:
            widths = auto_widths(section.height)
        every = itertools.product(sorted(widths, reverse=True), self.sizes, (True, False))
        return [
            (width, size, explain)
            for width, size, explain in every
            if not explain or size <= _EXPLAINED
        ]

    def _compile(self, program: tuple[int, int, bool]) -> None:
        width, size, explain = program
        section = config_lib.with_width(self.reader.config, width).data
        pixels = np.full((width, section.height, section.channels), 255, np.uint8)
        self.read([Decoded(pixels, (0.0, 1.0))], size, explain)
