"""A server on sockets: slow, broken and hanging clients, and how it stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crnn_jax
from crnn_jax.errors import ConfigError, CrnnError, RunError
from crnn_jax.serving import access, app
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.server import Server, serve
from crnn_jax.serving.settings import Settings
from tests.helpers.command_line import ROOT
from tests.helpers.echo_engine import DESCRIPTION, Echo

PATIENCE = 60.0  # seconds until a test fails because nothing happens


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
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def _report(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()

    def wait_for(self, start: str) -> None:
        """Waits until the server prints a line that begins with `start`."""
        with self._said:
            found = lambda: any(line.startswith(start) for line in self.lines)  # noqa: E731
            assert self._said.wait_for(found, PATIENCE)

    def wait_for_metric(self, name: str, value: float) -> None:
        """Waits until a metric without labels has a value."""
        end = time.monotonic() + PATIENCE
        while self.metric(name) != value:
            assert time.monotonic() < end
            time.sleep(0.001)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

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


@pytest.fixture(scope="module")
def quick() -> Iterator[Running]:
    """A server with short deadlines for clients."""
    bounds = {"header_seconds": 0.2, "body_seconds": 0.2, "max_body": 100_000}
    with Running(**bounds) as server:
        yield server


HEAD = request(b"")
CHUNKED = request(b"", "Transfer-Encoding: chunked")
SLOW, INVALID = (408, "timeout"), (400, "bad_request")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x16\x03\x01\x02\x00", INVALID),  # TLS
        (b"GET\r\n\r\n", INVALID),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", INVALID),
        (b"GET / HTTP/1.1\r\n\r\n", INVALID),  # no Host
        (HEAD.replace(b"localhost", b"a\x00b"), INVALID),
        (HEAD.replace(b"Length: 0", b"Length: -1"), INVALID),
        (HEAD.replace(b"Length: 0", b"Length: 0\r\nContent-Length: 1"), INVALID),
        (CHUNKED + b"zz\r\n", (400, "")),
        (b"GET /" + b"a" * 40_000, (431, "header_too_large")),
        (b"POST /v1/re", SLOW),
        (request(b"abc", "Content-Length: 9"), SLOW),
        (CHUNKED + b"3\r\nabc\r\n", SLOW),
        (request(b"", "Content-Length: 100001"), (413, "too_large")),
        (request(b"", "Content-Length: " + "9" * 40), INVALID),
        (CHUNKED + (b"10000\r\n" + bytes(2**16) + b"\r\n") * 3 + b"0\r\n\r\n", (413, "too_large")),
    ],
)  # fmt: skip
def test_a_broken_or_slow_client_gets_an_error_and_others_are_served(
    quick: Running, sent: bytes, expected: tuple[int, str]
) -> None:
    response = quick.send(sent)
    if expected[1]:
        assert problem(response) == expected
    assert quick.read("abc") == "abc"


def test_a_connection_without_a_request_is_closed(quick: Running) -> None:
    assert quick.send() == b""
    # Also after a request.
    response = quick.send(request(b"abc", close=False))
    assert response.startswith(b"HTTP/1.1 200")


def test_a_client_that_is_slow_is_not_confused_with_one_that_waits(quick: Running) -> None:
    """The deadline for a head ends with the head, even if the answer takes longer."""
    quick.engine.gate.clear()
    with quick.connect() as connection:
        connection.sendall(request(b"abc"))
        assert quick.send(b"GET") != b""  # for which its deadline passes
        quick.engine.gate.set()
        assert b'"text":"abc"' in rest(connection)


def test_a_client_that_waits_to_send_a_body_is_told_at_once(quick: Running) -> None:
    head = request(b"", "Content-Length: 999999", "Expect: 100-continue")
    assert problem(quick.send(head)) == (413, "too_large")
    with quick.connect() as connection:
        connection.sendall(request(b"", "Content-Length: 3", "Expect: 100-continue"))
        assert connection.recv(2**16).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b'"text":"abc"' in rest(connection)


def test_requests_on_one_connection_are_answered_in_turn(quick: Running) -> None:
    texts = [b"a", b"b" * 90_000, b"c"]
    requests = [request(text, close=False) for text in texts[:2]]
    response = quick.send(*requests, request(texts[2]))
    places = [response.index(b'"text":"%s"' % text) for text in texts]
    assert places == sorted(places)


def test_chunks_of_a_byte_end_the_connection(quick: Running) -> None:
    """Each takes as long to parse as thousands of bytes."""
    before = quick.metric("crnn_jax_connections_refused_total", reason="invalid") or 0
    with contextlib.suppress(ConnectionError):
        quick.send(CHUNKED, b"1\r\na\r\n" * 50_000)
    assert quick.metric("crnn_jax_connections_refused_total", reason="invalid") == before + 1
    assert quick.read("abc") == "abc"


def test_a_client_that_does_not_receive_its_answers_is_disconnected() -> None:
    with Running(body_seconds=0.1) as server:
        with server.connect() as connection:
            # The answers, 10 kB each, are larger than all buffers.
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
            server.wait_for_metric("crnn_jax_connections", 1)
            server.wait_for_metric("crnn_jax_connections", 0)
        assert server.read("abc") == "abc"


def test_connections_beyond_the_limit_are_refused_until_others_end() -> None:
    with Running(max_connections=2) as server:
        with server.connect() as first, server.connect():
            response = server.send()
            assert problem(response) == (503, "busy")
            assert b"Retry-After: 1" in response.replace(b"retry-after", b"Retry-After")
            first.sendall(request(b"abc"))
            assert b'"text":"abc"' in rest(first)
        assert server.metric("crnn_jax_connections_refused_total", reason="many") == 1
        assert server.read("abc") == "abc"


def test_images_of_a_client_that_hangs_up_leave_the_queue() -> None:
    with Running() as server:
        server.engine.gate.clear()
        with server.connect() as connection:
            connection.sendall(request(b"first"))
            assert server.engine.entered.acquire(timeout=PATIENCE)
            with server.connect() as other:
                other.sendall(request(b"dropped"))
                server.wait_for_metric("crnn_jax_queue_images", 2)
            server.wait_for_metric("crnn_jax_queue_images", 1)
        server.engine.gate.set()
        assert server.read("last") == "last"
        assert ["dropped"] not in server.engine.batches


def test_a_server_that_stops_answers_the_requests_in_progress() -> None:
    with Running() as server:
        server.engine.gate.clear()
        with server.connect() as sent, server.connect() as half, server.connect() as idle:
            sent.sendall(request(b"sent"))
            assert server.engine.entered.acquire(timeout=PATIENCE)
            half.sendall(request(b"ha", "Content-Length: 4"))
            server.wait_for_metric("crnn_jax_body_bytes", 6)
            server.server.end()
            server.wait_for("stopping")
            assert rest(idle) == b""
            half.sendall(b"lf")
            server.engine.gate.set()
            assert b'"text":"sent"' in rest(sent)
            assert b'"text":"half"' in rest(half)
        server.thread.join(PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_a_server_does_not_wait_for_a_hanging_client_for_ever() -> None:
    with Running(drain_seconds=1.0) as server, server.connect() as half:
        half.sendall(request(b"ha", "Content-Length: 4"))
        server.wait_for_metric("crnn_jax_body_bytes", 2)
        server.server.end()
        server.thread.join(PATIENCE)
        assert not server.thread.is_alive()


def test_a_failed_warm_up_stops_the_server(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Programs) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Programs, "warm_up", fail)
    settings, lines = Settings(port=0), list[str]()
    programs = Programs(crnn_jax.load(trained))
    with pytest.raises(
        RunError, match=r"cannot be compiled \(MemoryError: no room\); try a smaller"
    ):
        serve(programs, access.listen(settings), settings, lines.append)
    assert not any(line.startswith("ready") for line in lines)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_an_address_that_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="--token-file"):
        access.listen(Settings(host=host, port=0))


def test_an_address_in_use_is_named() -> None:
    with access.listen(Settings(host="localhost", port=0)) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(CrnnError, match=f"{port} cannot be used: .*choose another --port"):
            access.listen(Settings(host=bound.getsockname()[0], port=port))
    with pytest.raises(CrnnError, match="is not known"):
        access.listen(Settings(host="nowhere.invalid", port=0))


def test_a_second_signal_ends_the_process() -> None:
    code = (
        "import os, signal; from crnn_jax.runtime.signals import Interruption\n"
        "with Interruption(second_ends=True) as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print(stop.number, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("15\n", -signal.SIGTERM)


def test_the_command_reads_as_predict_does_and_drains_after_sigterm(
    trained: Path, captchas: Path
) -> None:
    """A process of its own, with clients that hang."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "crnn_jax",
        "serve",
        trained,
        "--port",
        "0",
        "--max-batch",
        "1",
    ]
    environment = {**os.environ, "CRNN_JAX_TOKEN": "0123456789abcdef"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("listening on http://127.0.0.1:"), process.communicate()
        port = int(first.split(";")[0].rpartition(":")[2])
        assert process.stdout.readline() == "ready\n"
        address = ("127.0.0.1", port)
        paths = sorted(captchas.iterdir())[:3]
        token = "Authorization: Bearer 0123456789abcdef"
        with (
            socket.create_connection(address, PATIENCE) as silent,
            socket.create_connection(address, PATIENCE) as half_head,
            socket.create_connection(address, PATIENCE) as half_body,
        ):
            half_head.sendall(b"POST /v1/read HT")
            content = paths[0].read_bytes()
            length = f"Content-Length: {len(content)}"
            half_body.sendall(request(content[:50], length, token))
            client = http.client.HTTPConnection(*address, timeout=PATIENCE)
            client.request("GET", "/v1/reader")
            refused = client.getresponse()
            assert (refused.status, refused.read()[:24]) == (401, b'{"error":{"code":"unauth')
            found = []
            for path in paths:
                headers = {"Authorization": token.partition(" ")[2], "Content-Type": "image/png"}
                client.request("POST", "/v1/read", path.read_bytes(), headers)
                found += json.loads(client.getresponse().read())["results"]
            client.close()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline().startswith("stopping")
            half_body.sendall(content[50:])
            found += json.loads(rest(half_body).partition(b"\r\n\r\n")[2])["results"]
            assert rest(silent) == rest(half_head) == b""
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "stopped\n", "")
    finally:
        process.kill()
        process.communicate()
    expected = crnn_jax.load(trained).predict([*paths, paths[0]])
    assert [result["text"] for result in found] == [reading.text for reading in expected]
