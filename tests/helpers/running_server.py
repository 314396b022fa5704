"""A server in a thread of the test, and the bytes that its clients send and receive."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

from crnn_jax.serving import access, app
from crnn_jax.serving.server import Server
from crnn_jax.serving.settings import Settings
from tests.helpers.echo_engine import DESCRIPTION, Echo

TIMEOUT = 60.0  # seconds until a test fails because nothing happens


class Running:
    """A server in a thread of this process, over a reader that echoes."""

    def __init__(self, **settings: Any):
        self.settings = Settings(port=0, **settings)
        self.engine = Echo()
        self.service = app.make(self.engine, DESCRIPTION, self.settings)
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.bound = access.listen(self.settings)
        self.address = self.bound.getsockname()
        self.server = Server(self.service, self.settings, self._report)
        self.thread = threading.Thread(target=self.server.run, args=([self.bound],), daemon=True)

    def __enter__(self) -> Running:
        self.thread.start()
        self.wait_for("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.gate.set()
        self.server.end()
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()

    def _report(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()

    def wait_for(self, start: str) -> None:
        """Waits until the server prints a line that begins with `start`."""
        with self._said:
            found = lambda: any(line.startswith(start) for line in self.lines)  # noqa: E731
            assert self._said.wait_for(found, TIMEOUT)

    def wait_for_metric(self, name: str, value: float) -> None:
        """Waits until a metric without labels has a value."""
        end = time.monotonic() + TIMEOUT
        while self.metric(name) != value:
            assert time.monotonic() < end
            time.sleep(0.001)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, TIMEOUT)

    def send(self, *parts: bytes) -> bytes:
        """Sends bytes on a new connection. Returns all that comes back until it is closed."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return rest(connection)

    def read(self, text: str) -> str:
        """Reads an image and returns its text."""
        (found,) = json.loads(self.send(request(text.encode())).partition(b"\r\n\r\n")[2])[
            "results"
        ]
        return str(found["text"])

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(name, labels)


def request(body: bytes, *headers: str, close: bool = True) -> bytes:
    """Returns the bytes of a request to read an image."""
    lines = [
        "POST /v1/read HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/png",
        *(headers or (f"Content-Length: {len(body)}",)),
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def rest(connection: socket.socket) -> bytes:
    """Returns what is received until the other side closes the connection."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            content += part
    return content


def problem(response: bytes) -> tuple[int, str]:
    """Returns the status and the code of an error."""
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]
