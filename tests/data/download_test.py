"""Downloads from servers that violate HTTP."""

import itertools
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.data import download, fetch
from crnn_jax.errors import DataError


class Raw(socketserver.ThreadingTCPServer):
    """Answers each connection with the next of `answers`, bytes or a function of the socket."""

    daemon_threads = True

    def __init__(self, *answers: Any) -> None:
        # Requests are handled below.
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.answers = itertools.cycle(answers)
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.zip"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def finish_request(self, request: Any, _: Any) -> None:
        received = b""
        while b"\r\n\r\n" not in received and (block := request.recv(9999)):
            received += block
        self.requests.append(received)
        answer = next(self.answers)
        if callable(answer):
            answer(request)
        else:
            request.sendall(answer)

    def handle_error(self, *_: Any) -> None:
        pass  # the client went away


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    servers = []

    def start(*answers: Any) -> Any:
        servers.append(Raw(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


OK = b"HTTP/1.1 200 OK\r\n"


def redirect(place: Any) -> Any:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n9\r\nab", "middle of the", 3),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "middle of the response", 3),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, "more than 65536 bytes", 1),
        (OK + b"Content-Length: 9\r\n\r\nabc", "ended after 3 of 9 bytes", 3),
        (OK + b"Content-Length: 99\r\nContent-Length: 1\r\n\r\nabc", "ended after 3 of 99", 3),
        (b"", "closed connection without response", 3),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "response is not HTTP", 1),
        (b"HTTP/1.1 abc\r\n\r\n", "response is not HTTP", 1),
        (b"HTTP/1.1 99999999999999999999 x\r\n\r\n", "response is not HTTP", 1),
        (OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "more than 65536 bytes", 1),
        (OK + b"X: 1\r\n" * 200 + b"\r\n", "more than 100 headers", 1),
        (b"HTTP/1.1 404 a\x07b\r\n\r\n", r"the server responded with 404 a\\x07b$", 1),
        (b"HTTP/1.1 503 \r\n\r\n", "the server responded with 503", 3),
        (redirect(b"/set.zip"), "redirects in a loop", None),
        (redirect(b"file:///etc/passwd"), "'file:///etc/passwd' is not allowed", 1),
        (redirect(b"ftp://127.0.0.1/x"), "redirects to ftp://127.0.0.1/x: only http", 1),
        (redirect(b"http://[::1/x"), "Invalid IPv6 URL", 1),
        (redirect(b"http://127.0.0.1:99999/"), "not a valid URL: Port out of range", 1),
        (redirect(b"\xff\xfe://x"), "could not be downloaded", None),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_a_server_answers_wrongly_is_one_sentence(
    raw: Callable[..., Raw],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    message: str,
    tries: int | None,
) -> None:
    monkeypatch.setattr(download, "TRIES", 3)
    server = raw(answer)
    with pytest.raises(DataError, match=message) as error:
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{server.url} could not be downloaded: ")
    assert tries is None or len(server.requests) == tries
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("length", [b"9" * 5000, b"-1", b"\xb2", b"x"])
def test_a_length_that_is_no_number_is_not_trusted(
    raw: Callable[..., Raw], tmp_path: Path, length: bytes
) -> None:
    """Then all is read until the end of the connection."""
    server = raw(OK + b"Content-Length: " + length + b"\r\n\r\nPK no archive")
    with pytest.raises(DataError, match="not a valid zip archive"):
        fetch.fetch(server.url, tmp_path / "set", 0)


def test_a_chunked_download_that_breaks_off_is_resumed(
    raw: Callable[..., Raw], tmp_path: Path
) -> None:
    def chunked(content: bytes, end: Any) -> Any:
        return f"Transfer-Encoding: chunked\r\n\r\n{len(content):x}\r\n".encode() + content + end

    server = raw(
        OK + chunked(b"abc", b"\r\n9\r\n"),
        b"HTTP/1.1 206 X\r\nContent-Range: bytes 3-5/6\r\n" + chunked(b"def", b"\r\n0\r\n\r\n"),
    )
    download.download(server.url, tmp_path / "file", 99, 0)
    assert (tmp_path / "file").read_bytes() == b"abcdef"
    assert b"\r\nRange: bytes=3-\r\n" in server.requests[1]


def test_another_part_than_was_asked_for_is_not_appended(
    raw: Callable[..., Raw], tmp_path: Path
) -> None:
    part = b"HTTP/1.1 206 X\r\nContent-Length: 3\r\nContent-Range: bytes 1-3/4\r\n\r\nbcd"
    server = raw(part, OK + b"Content-Length: 4\r\n\r\nabcd")
    (tmp_path / "file").write_bytes(b"xyz")
    download.download(server.url, tmp_path / "file", 99, 0)
    assert (tmp_path / "file").read_bytes() == b"abcd"


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"\r\n"])
def test_a_server_that_never_ends_is_left(
    raw: Callable[..., Raw], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: Any
) -> None:
    """The server keeps sending a few bytes, so that the socket timeout never expires."""
    monkeypatch.setattr(download, "LONGEST", 0.5)
    gone = threading.Event()

    def drip(request: Any) -> None:
        try:
            request.sendall(endless)
            while not gone.wait(0.01):
                request.sendall(endless if b"100" in endless else b"x")
        except OSError:
            gone.set()

    server = raw(drip)
    try:
        with pytest.raises(DataError, match=r"took longer than 0\.5 seconds"):
            fetch.fetch(server.url, tmp_path / "set", 0)
    finally:
        gone.set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "only http and https"),
        ("nonsense", "only http and https"),
        ("http://", "the URL has no host"),
        ("http:///set.zip", "the URL has no host"),
        ("http://:80/set.zip", "the URL has no host"),
        ("http://127.0.0.1:x/set.zip", "not a valid URL: Port"),
        ("http://127.0.0.1:99999/", "not a valid URL: Port"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://127.0.0.1/a b", "percent-encode"),
        ("http://127.0.0.1/a\r\nHost: x", "percent-encode"),
        ("http://127.0.0.1/\0", "percent-encode"),
        ("http://127.0.0.1/\u00e4", "percent-encode"),
        ("http://127.0.0.1/\udcff", "percent-encode"),
        ("http://" + "a" * 64 + "..b/", "could not be downloaded"),
        ("http://user:secret@127.0.0.1/", "could not be downloaded"),
        ("data:text/plain,x", "only http and https"),
    ],
)
def test_a_bad_url_is_one_sentence(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        fetch.fetch(url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
