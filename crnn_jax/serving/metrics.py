"""Metrics of a server in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    exposition,
)

import crnn_jax

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server, in a separate registry.

    No label value comes from a client.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Gauge("crnn_jax_info", "Version of crnn-jax", ["version"], registry=self.registry)
        info.labels(crnn_jax.__version__).set(1)
        self.requests = Counter(
            "crnn_jax_requests",
            "Requests by endpoint and status; 499 if the client left before the answer",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "crnn_jax_request_seconds",
            "Time from the head of a request to its answer",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.images = Counter(
            "crnn_jax_images",
            "Images by outcome: read, unreadable, failed (the model), or dropped (nobody waits)",
            ["outcome"],
            registry=self.registry,
        )
        self.refused = Counter(
            "crnn_jax_connections_refused",
            "Connections closed by reason: too many, slow or invalid",
            ["reason"],
            registry=self.registry,
        )
        self.connections = Gauge("crnn_jax_connections", "Open connections", registry=self.registry)
        self.body_bytes = Gauge(
            "crnn_jax_body_bytes", "Bytes of request bodies in memory", registry=self.registry
        )
        self._queue = Gauge(
            "crnn_jax_queue_images",
            "Images that wait or are being read",
            registry=self.registry,
        )
        self._batch_images = Histogram(
            "crnn_jax_batch_images",
            "Images that the model reads at once",
            buckets=_SIZES,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "crnn_jax_batch_seconds",
            "Time to read a batch",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def watch_queue(self, count: Callable[[], float]) -> None:
        """Takes the length of the queue from a function."""
        self._queue.set_function(count)

    def observe_batch(self, images: int, seconds: float) -> None:
        """Counts a batch of `images` that was read in `seconds`."""
        self._batch_images.observe(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Returns the metrics in the text format."""
        return exposition.generate_latest(self.registry)
