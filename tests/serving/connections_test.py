"""A server on sockets: slow, broken and hanging clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.helpers.running_server import TIMEOUT, Running, problem, request, rest


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
        (request(b"abc", "Content-Length: 3", "X: " + "a" * 20_000), (431, "header_too_large")),
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


def test_a_request_with_two_lengths_ends_the_connection(quick: Running) -> None:
    """A proxy may take the other length, and the rest of the body for a request of its own."""
    headers = "Content-Length: 3", "Transfer-Encoding: chunked"
    two = request(b"3\r\nabc\r\n0\r\n\r\n", *headers, close=False)
    response = quick.send(two, request(b"abc"))
    assert problem(response) == INVALID
    assert b"\r\nconnection: close" in response.lower()
    assert response.count(b"HTTP/1.1") == 1


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
            assert server.engine.entered.acquire(timeout=TIMEOUT)
            with server.connect() as other:
                other.sendall(request(b"dropped"))
                server.wait_for_metric("crnn_jax_queue_images", 2)
            server.wait_for_metric("crnn_jax_queue_images", 1)
        server.engine.gate.set()
        assert server.read("last") == "last"
        assert ["dropped"] not in server.engine.batches
