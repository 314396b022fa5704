"""Downloads a file over HTTP, bounded in size and time; resumes when the connection breaks.

Errors of the connection become a DataError of one sentence, errors of the disk a RunError.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import re
import socket
import ssl
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crnn_jax.errors import DataError, brief
from crnn_jax.runtime import files

TRIES = 5
TIMEOUT = 30.0  # seconds without receiving a byte
LONGEST = 3600.0  # seconds for all attempts together
_BLOCK = 1 << 16
_BUSY = (408, 425, 429)  # statuses below 500 for which a retry can succeed


class _Refused(Exception):
    """A failure for which a retry would fail again."""


class _Broken(Exception):
    """A network failure or a busy server; a retry can succeed."""


class _StaleError(_Broken):
    """The partial download is not the beginning of the file on the server."""


def download(url: str, path: Path, most: int, pause: float = 1.0) -> None:
    """Downloads `url` to `path`. If `path` has a partial download, appends the rest.

    Args:
      url: http or https; redirects must lead to http or https too.
      path: the file. A partial file is kept if the download fails.
      most: the maximum number of bytes.
      pause: attempt i waits i * `pause` seconds before it starts.

    Raises:
      DataError: all attempts failed, or a retry would be useless.
      RunError: the file cannot be written.
    """
    deadline = time.monotonic() + LONGEST
    why: object = ""
    for attempt in range(TRIES):
        time.sleep(attempt * pause)
        try:
            _receive(url, path, most, deadline)
            return
        except _Refused as error:
            why = error
            break
        except _Broken as error:
            why = error
            if isinstance(error, _StaleError):
                path.unlink(missing_ok=True)
        if time.monotonic() > deadline:
            why = f"it took longer than {LONGEST:g} seconds"
            break
    raise DataError(f"{brief(url)} could not be downloaded: {brief(why)}")


def _receive(url: str, path: Path, most: int, deadline: float) -> None:
    """Makes one attempt: receives the rest of the file and appends it."""
    _check_url(url)
    have = _size(path)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with contextlib.ExitStack() as stack:
        with _transport():
            opener = _opener(deadline, stack)
            answer = stack.enter_context(contextlib.closing(opener.open(request, timeout=TIMEOUT)))
            start = _start(answer, have)
            length = answer.headers.get("Content-Length") or ""
        is_known = re.fullmatch("[0-9]{1,15}", length) is not None
        whole = start + int(length) if is_known else None
        have = start
        with files.opened(path) as file:
            if not start:
                _write(path, functools.partial(file.truncate, 0))
            while block := _read(answer):
                have += len(block)
                if have > most:
                    path.unlink()
                    raise _Refused(f"it is larger than {most >> 20} MiB")
                _append(path, file, block)
    if time.monotonic() > deadline:  # a shut-down connection looks like the end of the file
        raise _Broken("the time limit was reached")
    if whole is not None and have != whole:
        raise _Broken(f"the connection ended after {have} of {whole} bytes")


def _read(answer: Any) -> bytes:
    with _transport():
        return bytes(answer.read1(_BLOCK))


def _append(path: Path, file: io.FileIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[_write(path, functools.partial(file.write, rest)) or 0 :]


def _write(path: Path, call: Callable[[], int | None]) -> int | None:
    try:
        return call()
    except OSError as error:
        raise files.unwritable(path, error) from error


def _size(path: Path) -> int:
    """Returns the size of a partial download in bytes. Removes a symbolic link instead."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            path.unlink()
            return 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise files.unwritable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is needed for the download and is not a file; remove it")
    return status.st_size


def _start(answer: Any, have: int) -> int:
    """Returns the offset of the first byte of a response to a request for bytes from `have` on."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0
    match = re.match(r"bytes ([0-9]{1,15})-", answer.headers.get("Content-Range") or "bytes 0-")
    given = answer.headers.get("Content-Range")
    if given is not None and (match is None or int(match[1]) != have):
        raise _StaleError(f"the server sent {brief(given, 60)}, not the bytes from {have} on")
    return have


def _check_url(url: str) -> None:
    if not all("!" <= c <= "~" for c in url):
        raise _Refused(
            "percent-encode spaces, control characters and non-ASCII characters in a URL"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _Refused(f"it is not a valid URL: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise _Refused("only http and https are supported")
    if not host:
        raise _Refused("the URL has no host")


@contextlib.contextmanager
def _transport() -> Iterator[None]:
    """Converts any error of urllib, http.client and ssl to _Broken or _Refused."""
    try:
        yield
    except (_Broken, _Refused):
        raise
    except urllib.error.HTTPError as error:
        error.close()
        why = f"the server responded with {error.code} {error.reason}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _StaleError(why) from error
        raise (_Broken if error.code >= 500 or error.code in _BUSY else _Refused)(why) from error
    except Exception as error:
        cause = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else None
        cause = cause if isinstance(cause, Exception) else error
        raise (_Broken if _is_transient(cause) else _Refused)(_why(cause)) from error


def _is_transient(error: Exception) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    # A closed connection is an OSError. Other HTTPExceptions mean that the response is not HTTP.
    return isinstance(error, (OSError, http.client.IncompleteRead))


def _why(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended in the middle of the response"
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
        return f"the response is not HTTP: {error}"
    return str(error) or type(error).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    inf_msg = "and redirects in a loop: "

    def http_error_302(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, *args: Any) -> urllib.request.Request | None:
        url = args[-1]
        try:
            _check_url(url)
        except _Refused as error:
            raise _Refused(f"the server redirects to {brief(url, 100)}: {error}") from error
        return super().redirect_request(*args)


def _opener(deadline: float, stack: contextlib.ExitStack) -> urllib.request.OpenerDirector:
    """Returns an opener that shuts its connections down at a deadline.

    A socket's timeout restarts with each byte, so a slow server could hold a client forever.
    """

    def limited(kind: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        connect = connection.connect

        def connect_until() -> None:
            connect()
            timer = threading.Timer(
                max(0, deadline - time.monotonic()), _shut_down, (connection.sock,)
            )
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)

        connection.connect = connect_until
        return connection

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(functools.partial(limited, http.client.HTTPConnection), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            kind = functools.partial(limited, http.client.HTTPSConnection)
            return self.do_open(kind, req, context=ssl.create_default_context())

    return urllib.request.build_opener(Http, Https, _Redirects)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
