"""A reader for tests of serving: the text of an image is the content of its file."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence

import numpy as np

from crnn_jax.errors import DataError
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.explain import Character, Explanation
from crnn_jax.inference.inputs import Decoded
from crnn_jax.serving import wire

DESCRIPTION = wire.ReaderResponse(
    version="1",
    symbols=["a"],
    lengths=None,
    input=wire.InputSize(width=None, height=1, channels=1),
    epoch=0,
    fingerprint="",
    params_sha256="",
)


class Echo:
    """Reads files as their text. The width of an image is the length of its text.

    A file that begins with 'bad' cannot be decoded. 'raise' and 'fail' are errors of the program,
    when the file is decoded and when it is read. A test closes `gate` to keep the model busy, and
    `decoding` to keep images that begin with 'slow' from being decoded.
    """

    def __init__(self, sizes: tuple[int, ...] = (1, 4)):
        self.sizes = sizes
        self.batches: list[list[str]] = []  # texts of each batch
        self.gate, self.decoding = threading.Event(), threading.Event()
        self.gate.set()
        self.decoding.set()
        self.entered = threading.Semaphore(0)  # is released when a batch begins
        self.asked = threading.Semaphore(0)  # is released when there are ready images
        self.failure: Exception | None = None  # of the warm-up

    def warm_up(self) -> None:
        if self.failure is not None:
            raise self.failure

    def decode(self, content: bytes | str) -> Decoded | DataError:
        if isinstance(content, str):
            content = base64.b64decode(content)
        if content.startswith(b"slow"):
            assert self.decoding.wait(60)
        if content.startswith(b"raise"):
            raise ZeroDivisionError
        if content.startswith(b"bad"):
            return DataError("not an image")
        return Decoded(np.frombuffer(content, np.uint8)[:, None, None], (0.0, 1.0))

    def batch_size(self, count: int, explain: bool) -> int:
        self.asked.release()
        return max(size for size in self.sizes if size <= count or size == self.sizes[0])

    def read(
        self, images: Sequence[Decoded], size: int, explain: bool
    ) -> Sequence[Reading | Explanation]:
        assert len(images) <= size
        assert len({image.pixels.shape for image in images}) == 1
        texts = [image.pixels.tobytes().decode() for image in images]
        self.entered.release()
        assert self.gate.wait(60)
        self.batches.append(texts)
        if "fail" in texts:
            raise ZeroDivisionError
        if explain:
            return [
                Explanation(text, 0.5, [Character("a", 1.0, 0.0, 0.5)], [Reading(text, 0.5)])
                for text in texts
            ]
        return [Reading(text, 0.5) for text in texts]
