"""The outermost layer of the application: access, errors, unread bodies and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crnn_jax.serving import access
from crnn_jax.serving.metrics import Metrics
from crnn_jax.serving.settings import Settings
from crnn_jax.serving.wire import RequestError, error_response

_LOG = logging.getLogger(__name__)
# How much of an unread body is received after an error, or twice the bound of a body if that is
# more. A client that is still sending would not see the response if the connection were closed at
# once.
_REST_BYTES, _REST_SECONDS = 2**24, 1.0
_CLOSE = {"Connection": "close"}
LEFT = 499  # status in the metrics if the client left before the answer


class Guard:
    """Checks access to an application, and answers every error with JSON."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        settings: Settings,
        endpoints: Iterable[str],
        open_endpoints: Iterable[str],
    ):
        """Wraps an application.

        Args:
          app: the application.
          metrics: counts requests.
          settings: the token, and the bounds of heads and bodies.
          endpoints: the paths that metrics name.
          open_endpoints: paths that need no token.
        """
        self._app, self._metrics, self._settings = app, metrics, settings
        self._endpoints, self._open = frozenset(endpoints), frozenset(open_endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        rest = max(_REST_BYTES, 2 * self._settings.max_body)
        exchange = _Exchange(Headers(scope=scope), receive, send, rest)
        start = time.perf_counter()
        try:
            _check_head(scope, self._settings.max_header)
            token = self._settings.token
            is_open = token is not None and path in self._open
            if not is_open:
                access.check(exchange.headers, token)
            await self._app(scope, exchange.receive, exchange.send)
        except RequestError as error:
            await exchange.fail(error.status, error.code, error.message, error.headers)
        except asyncio.CancelledError:  # the server has waited long enough for this request
            await exchange.fail(503, "stopping", "the server is stopping; try again later")
        except Exception:
            _LOG.exception("a request to %s failed", path if path in self._endpoints else "other")
            await exchange.fail(500, "internal", "the server failed; its log says why")
        finally:
            endpoint = path if path in self._endpoints else "other"
            self._metrics.requests.labels(endpoint, str(exchange.status)).inc()
            self._metrics.seconds.labels(endpoint).observe(time.perf_counter() - start)


def _check_head(scope: Scope, most: int) -> None:
    """Checks the head of a request. h11 checks the size of a head only until all of it is there.

    Raises:
      RequestError: the head has more than `most` bytes, or two lengths of the body. A proxy may
        take the other length, and the rest of the body for another request.
    """
    fields = scope["headers"]
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if target + sum(len(name) + len(value) + 4 for name, value in fields) > most:
        raise RequestError(431, "header_too_large", f"the head has more than {most} bytes", _CLOSE)
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in fields}:
        message = "a request cannot have both Content-Length and Transfer-Encoding"
        raise RequestError(400, "bad_request", message, _CLOSE)


class _Exchange:
    """A request and its response."""

    def __init__(self, headers: Headers, receive: Receive, send: Send, rest: int):
        self.headers, self._receive, self._send = headers, receive, send
        self._most_rest = rest  # bytes of an unread body that are received after an error
        self.status = LEFT  # until there is another one
        self._has_started = False
        self._has_body = False  # all of it was received
        self._has_asked = False  # the application has asked for a part of the body

    async def receive(self) -> Message:
        self._has_asked = True
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._has_body = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_started = True
            self.status = message["status"]
            if not await self._receive_rest():
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)

    async def fail(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        """Sends an error, unless a response has begun."""
        if self._has_started:
            return
        response = error_response(status, code, message, headers or {})
        await response({"type": "http", "method": "GET", "headers": []}, self.receive, self.send)

    async def _receive_rest(self) -> bool:
        """Receives and discards the rest of the body. Returns whether all of it was received."""
        waits_to_send = not self._has_asked and "expect" in self.headers
        is_chunked = "transfer-encoding" in self.headers
        if self.headers.get("content-length", "0") == "0" and not is_chunked:
            return True
        if waits_to_send or self.status == 408:
            return self._has_body
        count = 0
        try:
            async with asyncio.timeout(_REST_SECONDS):
                while not self._has_body and count <= self._most_rest:
                    count += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        return self._has_body
