"""Reads the batches of an epoch from a pack, with Grain: for sets larger than the memory.

The images have the same order as in memory, a function of seed and epoch. So the order does not
depend on the number of worker processes or hosts, and an epoch can be resumed at any step.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from crnn_jax.config import DataConfig
from crnn_jax.data import packed
from crnn_jax.data.image_io import open_image, to_array
from crnn_jax.errors import DataError
from crnn_jax.runtime import signals

_BATCHES = 4  # batches that each worker reads ahead


@dataclasses.dataclass(frozen=True)
class Records:
    """The images of a pack, in the form of the model's input."""

    config: DataConfig
    places: np.ndarray  # i32 [N], the position in the pack of each image of a data set

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns images of the data set, u8 [n, W, H, C]. DataError: one cannot be read."""
        config = self.config
        shape = (len(numbers), config.width, config.height, config.channels)
        images = np.empty(shape, np.uint8)
        for image, place in zip(images, self.places[numbers].tolist(), strict=True):
            try:
                content = packed.record(config.dir, place)
                image[:] = to_array(open_image(content, config.frame), config)
            except (DataError, ValueError) as error:
                name = packed.index(config.dir).files[place]
                raise DataError(f"{config.dir}: {name}: {error}") from error
        return images

    def batches(self, rows: np.ndarray) -> Batches:
        """Returns an iterator over the batches u8 [B, W, H, C] of the numbers i32 [S, B]."""
        places = self.places[rows]
        return Batches(_Rows(dataclasses.replace(self, places=places)), self.config.workers)


class _Rows:
    """A data source of Grain: element i is batch i. It is sent to the workers."""

    def __init__(self, records: Records):
        self._records = records  # places i32 [S, B]

    def __len__(self) -> int:
        return len(self._records.places)

    def __getitem__(self, step: Any) -> np.ndarray:
        places = self._records.places[step]
        return dataclasses.replace(self._records, places=places).read(np.arange(len(places)))


def _prepare_worker(*_: int) -> None:
    """Leaves signals to the training process, and ends the worker when that process is gone."""
    for number in signals.STOPPING:
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Batches:
    """An iterator and context manager that reads ahead in worker processes.

    Attributes:
      started: seconds until the first batch, in which the workers start.
      waited: seconds that the caller has waited for the other batches.
    """

    def __init__(self, rows: _Rows, workers: int):
        import grain
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which only run.py parses
            flags.FLAGS.mark_as_parsed()
        self.started = self.waited = 0.0
        self._is_first = True
        threads = grain.ReadOptions(num_threads=0 if workers else 2, prefetch_buffer_size=_BATCHES)
        found: Any = grain.MapDataset.source(rows).to_iter_dataset(threads)
        if workers:
            options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_BATCHES)
            found = found.mp_prefetch(options, worker_init_fn=_prepare_worker)
        self._batches = iter(found)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        if close := getattr(self._batches, "close", None):
            close()

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        start = time.monotonic()
        batch: np.ndarray = next(self._batches)
        passed = time.monotonic() - start
        if self._is_first:
            self._is_first, self.started = False, passed
        else:
            self.waited += passed
        return batch
