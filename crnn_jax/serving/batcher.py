"""The queue: images of all requests are decoded by threads and read in batches by one thread.

An image goes through three states: it waits for a decoding thread, then it is ready, then it is
read. Batches hold ready images of one width, of requests of one kind (plain or explained), oldest
first. While the model reads a batch, other images are decoded and become ready, so under load
batches fill up without waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from crnn_jax.errors import DataError
from crnn_jax.inference.inputs import Decoded
from crnn_jax.runtime import allocator, cpu_devices
from crnn_jax.serving.metrics import Metrics

_IDLE_SECONDS = 10.0  # without images after which free memory is returned to the system
_LOG = logging.getLogger(__name__)


class QueueFullError(Exception):
    """The queue has no room for the images of a request."""


class ReadingError(Exception):
    """The model failed. The cause is logged."""


class Engine(Protocol):
    """The interface of a reader that the queue uses; see `programs.Programs`."""

    def warm_up(self) -> None:
        """Compiles every program, so that no request waits for a compilation."""

    def decode(self, content: bytes | str) -> Decoded | DataError:
        """Decodes an image file, or one in base64. Called by several threads."""

    def batch_size(self, count: int, explain: bool) -> int:
        """Returns the size of the next batch if `count` images of one kind are ready."""

    def read(self, images: Sequence[Decoded], size: int, explain: bool) -> Sequence[Any]:
        """Reads images of one width, padded to a batch of `size`. Called by one thread."""


class _Request:
    """The images of a request that are not answered yet."""

    def __init__(self, contents: list[bytes | str], explain: bool):
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Any]] = self.loop.create_future()
        self.contents = contents  # the list of the caller; emptied as they are decoded
        self.results: list[Any] = [None] * len(contents)
        self.left = len(contents)
        self.explain = explain
        self.is_dropped = False  # nobody waits for the results any more


class _Image(NamedTuple):
    request: _Request
    place: int  # index in the request


class _Ready(NamedTuple):
    image: _Image
    decoded: Decoded
    number: int  # counts images in the order in which they became ready
    since: float  # time.monotonic()


class Batcher:
    """A bounded queue of images before a reader."""

    def __init__(self, engine: Engine, metrics: Metrics, max_queue: int, batch_seconds: float):
        """Makes a queue; `start` starts its threads.

        Args:
          engine: decodes and reads.
          metrics: counts images and batches.
          max_queue: images that wait or are being read.
          batch_seconds: time that a ready image waits for images that are being decoded.
        """
        self._engine, self._metrics = engine, metrics
        self._max_queue, self._batch_seconds = max_queue, batch_seconds
        self._changed = threading.Condition()
        self._ready: dict[tuple[int, bool], deque[_Ready]] = {}  # keyed by width and kind of answer
        self._pending = 0  # images that are accepted and not answered yet
        self._decoding = 0  # pending images that are not decoded yet
        self._number = 0
        self._is_closed = False
        # Two at least, so that a slow image does not hold up the others on a single core.
        self._pool = ThreadPoolExecutor(max(2, cpu_devices.available()), "decode")
        self._thread = threading.Thread(target=self._run, name="read", daemon=True)
        self.is_warm = False  # all programs are compiled
        self.failure: BaseException | None = None  # error of the warm-up
        self.ended: Callable[[], None] = lambda: None  # called by the thread if the warm-up fails
        metrics.watch_queue(lambda: self._pending)

    def start(self) -> None:
        """Starts the thread that compiles the programs and then reads."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether the queue has no room for another image."""
        return self._pending >= self._max_queue

    async def read(self, contents: list[bytes | str], explain: bool) -> list[Any]:
        """Reads image files. Returns a reading, an explanation or a DataError for each, in order.

        The list is emptied as the files are decoded, so that their memory is free.

        If the task that awaits it is canceled, its images leave the queue.

        Raises:
          QueueFullError: there is no room for the images.
          ReadingError: the model failed.
        """
        request = _Request(contents, explain)
        with self._changed:
            if self._is_closed or self._pending + len(contents) > self._max_queue:
                raise QueueFullError
            self._pending += len(contents)
            self._decoding += len(contents)
        for place in range(len(contents)):
            self._pool.submit(self._decode, _Image(request, place))
        try:
            return await request.future
        finally:
            self._drop(request)
            del request  # the error of its future refers to this frame

    def close(self, seconds: float) -> None:
        """Refuses more images, and waits until those in the queue are read.

        Args:
          seconds: the longest time to wait.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self.is_warm:  # a compilation cannot be stopped
            self._thread.join(seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, image: _Image) -> None:
        """Decodes an image in a thread of the pool."""
        request, place = image
        content, request.contents[place] = request.contents[place], b""
        decoded: Decoded | DataError | None = None
        if not request.is_dropped:
            try:
                decoded = self._engine.decode(content)
            except BaseException:  # or the request would wait until its deadline
                _LOG.exception("an image could not be decoded")
        with self._changed:
            self._decoding -= 1
            if request.is_dropped:
                self._pending -= 1
            elif decoded is None:
                self._fail([image])
            elif isinstance(decoded, DataError):
                self._answer([image], [decoded])
            else:
                self._number += 1
                ready = _Ready(image, decoded, self._number, time.monotonic())
                key = len(decoded.pixels), request.explain
                self._ready.setdefault(key, deque()).append(ready)
            self._changed.notify_all()

    def _run(self) -> None:
        """Compiles and then reads, until the queue is closed and empty."""
        try:
            self._engine.warm_up()
        except BaseException as error:
            self.failure = error
            self.ended()
            return
        self.is_warm = True
        while batch := self._next_batch():
            size, ready = batch
            images = [one.image for one in ready]
            start = time.monotonic()
            try:
                explain = images[0].request.explain
                found = self._engine.read([one.decoded for one in ready], size, explain)
            except BaseException:  # the next batch may succeed
                _LOG.exception("a batch of %d images could not be read", len(ready))
                with self._changed:
                    self._fail(images)
                continue
            self._metrics.observe_batch(len(ready), time.monotonic() - start)
            with self._changed:
                self._answer(images, found)

    def _next_batch(self) -> tuple[int, list[_Ready]] | None:
        """Waits for images. Returns the size of a batch and its images, the size or fewer.

        Returns None if the queue is closed and empty.
        """
        with self._changed:
            while True:
                if not self._ready:
                    if self._is_closed and not self._pending:
                        return None
                    if not self._changed.wait(_IDLE_SECONDS) and not self._pending:
                        allocator.return_memory()
                    continue
                key = min(self._ready, key=lambda k: self._ready[k][0].number)
                group, explain = self._ready[key], key[1]
                size = self._engine.batch_size(len(group), explain)
                rest = group[0].since + self._batch_seconds - time.monotonic()
                can_grow = self._decoding and size < self._engine.batch_size(
                    self._max_queue, explain
                )
                if can_grow and rest > 0:
                    self._changed.wait(rest)
                    continue
                batch = [group.popleft() for _ in range(min(size, len(group)))]
                if not group:
                    del self._ready[key]
                return size, batch

    def _answer(self, images: Sequence[_Image], results: Sequence[Any]) -> None:
        """Stores the results of images. The lock is held."""
        self._pending -= len(images)
        finished: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        for (request, place), result in zip(images, results, strict=True):
            if request.is_dropped:
                continue
            request.results[place] = result
            request.left -= 1
            outcome = "unreadable" if isinstance(result, DataError) else "read"
            self._metrics.images.labels(outcome).inc()
            if not request.left:
                finished.setdefault(request.loop, []).append(request)
        for loop, requests in finished.items():  # a call for all, since each wakes the loop
            _call(loop, functools.partial(_finish, requests))
        if self._is_closed:
            self._changed.notify_all()

    def _fail(self, images: Sequence[_Image]) -> None:
        """Ends the requests of images with a ReadingError. The lock is held."""
        self._pending -= len(images)
        for request in {image.request for image in images}:
            if not request.is_dropped:
                self._drop_all(request, "failed")
                _call(request.loop, functools.partial(_finish, [request], ReadingError))

    def _drop(self, request: _Request) -> None:
        """Removes the images of a request from the queue, unless all are answered."""
        with self._changed:
            if request.left and not request.is_dropped:
                self._drop_all(request)
                self._changed.notify_all()

    def _drop_all(self, request: _Request, outcome: str = "dropped") -> None:
        """Drops a request. Images that are being decoded or read leave later. The lock is held."""
        request.is_dropped = True
        request.contents[:] = [b""] * len(request.contents)
        for key, group in list(self._ready.items()):
            kept = deque(ready for ready in group if ready.image.request is not request)
            self._pending -= len(group) - len(kept)
            if kept:
                self._ready[key] = kept
            else:
                del self._ready[key]
        self._metrics.images.labels(outcome).inc(request.left)


def _finish(requests: Sequence[_Request], error: type[ReadingError] | None = None) -> None:
    """Ends requests, in the thread of their loop."""
    for request in requests:
        if request.future.done():  # canceled
            continue
        if error is None:
            request.future.set_result(request.results)
        else:
            request.future.set_exception(error())


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(call)
