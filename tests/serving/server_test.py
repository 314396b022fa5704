"""How a server starts and stops."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import crnn_jax
from crnn_jax.errors import ConfigError, CrnnError, RunError
from crnn_jax.serving import access
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.server import serve
from crnn_jax.serving.settings import Settings
from tests.helpers.command_line import ROOT
from tests.helpers.running_server import TIMEOUT, Running, request, rest


def test_a_server_that_stops_answers_the_requests_in_progress() -> None:
    with Running() as server:
        server.engine.gate.clear()
        with server.connect() as sent, server.connect() as half, server.connect() as idle:
            sent.sendall(request(b"sent"))
            assert server.engine.entered.acquire(timeout=TIMEOUT)
            half.sendall(request(b"ha", "Content-Length: 4"))
            server.wait_for_metric("crnn_jax_body_bytes", 6)
            server.server.end()
            server.wait_for("stopping")
            assert rest(idle) == b""
            half.sendall(b"lf")
            server.engine.gate.set()
            assert b'"text":"sent"' in rest(sent)
            assert b'"text":"half"' in rest(half)
        server.thread.join(TIMEOUT)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_a_server_does_not_wait_for_a_hanging_client_for_ever() -> None:
    with Running(drain_seconds=1.0) as server, server.connect() as half:
        half.sendall(request(b"ha", "Content-Length: 4"))
        server.wait_for_metric("crnn_jax_body_bytes", 2)
        server.server.end()
        server.thread.join(TIMEOUT)
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
        "import os, signal; from crnn_jax.runtime.signals import SignalWatcher\n"
        "with SignalWatcher(second_ends=True) as stop:\n"
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
            socket.create_connection(address, TIMEOUT) as silent,
            socket.create_connection(address, TIMEOUT) as half_head,
            socket.create_connection(address, TIMEOUT) as half_body,
        ):
            half_head.sendall(b"POST /v1/read HT")
            content = paths[0].read_bytes()
            length = f"Content-Length: {len(content)}"
            half_body.sendall(request(content[:50], length, token))
            client = http.client.HTTPConnection(*address, timeout=TIMEOUT)
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
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out, err) == (0, "stopped\n", "")
    finally:
        process.kill()
        process.communicate()
    expected = crnn_jax.load(trained).predict([*paths, paths[0]])
    assert [result["text"] for result in found] == [reading.text for reading in expected]
