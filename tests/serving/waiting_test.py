"""Requests that time out or are abandoned by the server or the client."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

from crnn_jax.serving.batcher import QueueFullError, ReadingError
from tests.helpers.serving_client import Client, error, exchange, texts


def test_images_that_are_not_read_in_time_leave_the_queue() -> None:
    with Client(answer_seconds=0.05) as client:
        client.engine.gate.clear()
        assert error(client.read("a", "b")) == (504, "deadline")
        assert error(client.read("c")) == (504, "deadline")
        client.engine.gate.set()
        assert texts(client.read("d")) == ["d"]
        assert ["c"] not in client.engine.batches


def test_a_full_queue_is_busy() -> None:
    with Client(max_queue=2, max_images=2, answer_seconds=60) as client:
        response = client.read("a", "b", "c")
        assert error(response) == (413, "too_many_images")
    with Client(max_queue=3, max_images=3, answer_seconds=0.05) as client:
        client.engine.gate.clear()
        assert error(client.read("a", "b")) == (504, "deadline")  # both are still being read
        response = client.read("c", "d", "e")
        assert error(response) == (503, "busy")
        assert response.headers["retry-after"] == "1"


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    with Client(body_seconds=0.01) as client:
        start, body = exchange(client, [{"type": "http.request", "body": b"a", "more_body": True}])
        assert start["status"] == 408
        assert json.loads(body["body"])["error"]["code"] == "timeout"
        assert (b"connection", b"close") in start["headers"]


def test_images_of_a_client_that_leaves_are_dropped() -> None:
    with Client() as client:
        client.engine.gate.clear()

        async def leave(_: object) -> Any:
            await asyncio.to_thread(client.engine.entered.acquire)
            return {"type": "http.disconnect"}

        exchange(client, [{"type": "http.request", "body": b"abc"}, leave])
        assert client.metric("crnn_jax_images_total", outcome="dropped") == 1
        labels = {"endpoint": "/v1/read", "status": "499"}
        assert client.metric("crnn_jax_requests_total", **labels) == 1
    with Client() as client:  # while the body is received
        parts = [{"type": "http.request", "body": b"a", "more_body": True}]
        exchange(client, [*parts, {"type": "http.disconnect"}])
        assert client.metric("crnn_jax_requests_total", **labels) == 1


def test_a_request_that_the_server_does_not_wait_for_gets_an_answer() -> None:
    with Client() as client:
        client.engine.gate.clear()

        async def cancel(task: asyncio.Future[None]) -> Any:
            await asyncio.to_thread(client.engine.entered.acquire)
            task.cancel()
            await asyncio.Event().wait()

        start, body = exchange(client, [{"type": "http.request", "body": b"abc"}, cancel])
        assert start["status"] == 503
        assert json.loads(body["body"])["error"]["code"] == "stopping"
        assert client.metric("crnn_jax_images_total", outcome="dropped") == 1


def test_a_failed_request_is_freed_at_once() -> None:
    gc.disable()
    try:
        with Client(max_queue=3, max_images=3, answer_seconds=0.05) as client:
            assert error(client.read("fail")) == (500, "internal")
            client.engine.gate.clear()
            assert error(client.read("a", "b")) == (504, "deadline")
            assert error(client.read("c", "d", "e")) == (503, "busy")
            kept = [o for o in gc.get_objects() if isinstance(o, (QueueFullError, ReadingError))]
            assert not kept
    finally:
        gc.enable()
