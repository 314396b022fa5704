"""A client of the serving application, in one process without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.testclient import TestClient

from crnn_jax.serving import app, wire
from crnn_jax.serving.app import Service
from crnn_jax.serving.settings import Settings
from tests.helpers.echo_engine import DESCRIPTION, Echo

LENGTH, CHUNKED = (b"content-length", b"3"), (b"transfer-encoding", b"chunked")


class Client:
    """A client of an application with the echo engine."""

    def __init__(self, base_url: str = "http://127.0.0.1:8000", **settings: Any):
        self.engine = Echo()
        self.settings = Settings(**settings)
        self.service: Service = app.make(self.engine, DESCRIPTION, self.settings)
        self.http = TestClient(self.service.app, base_url, raise_server_exceptions=False)

    def __enter__(self) -> Client:
        self.http.__enter__()
        while not self.service.batcher.is_warm:  # the thread sets it at once
            assert self.service.batcher.failure is None
            self.service.batcher._thread.join(0.01)
        return self

    def __exit__(self, *error: Any) -> None:
        self.engine.gate.set()
        self.http.__exit__(*error)
        assert self.metric("crnn_jax_queue_images") == 0
        assert self.metric("crnn_jax_body_bytes") == 0

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(name, labels)

    def read(self, *texts: str, query: str = "", **options: Any) -> Any:
        files = [("images", (text, text.encode())) for text in texts]
        return self.http.post(f"/v1/read{query}", files=files, **options)


def texts(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    wire.ReadResponse.model_validate_json(response.content)
    return [result.get("text", "error") for result in response.json()["results"]]


def error(response: Any) -> tuple[int, str]:
    """Returns status and code, and checks that the body is an error and nothing else."""
    assert response.headers["content-type"] == "application/json"
    (problem,) = response.json().values()
    assert set(problem) == {"code", "message"}
    assert problem["message"]
    return response.status_code, problem["code"]


def exchange(
    client: Client, messages: list[Any], header: tuple[bytes, bytes] = LENGTH
) -> list[Any]:
    """Calls the application in a task. Returns the messages that it sends.

    It receives the messages of a list, which is emptied, and then none. A function is called with
    the task and returns the message.
    """
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/v1/read", "raw_path": b"/v1/read", "query_string": b"",
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        "headers": [
            (b"host", b"localhost"), (b"content-type", b"image/png"), header,
        ],
    }  # fmt: skip
    sent: list[Any] = []
    tasks: list[asyncio.Future[None]] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        message = messages.pop(0)
        return await message(tasks[0]) if callable(message) else message

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        tasks.append(asyncio.ensure_future(client.service.app(scope, receive, send)))
        done, _ = await asyncio.wait(tasks, timeout=60)
        (task,) = done
        task.result()

    asyncio.run(run())
    return sent
