"""The connections of a server: uvicorn's, with bounds on their number and on slow clients.

uvicorn waits forever for the head of the first request, and for a client that does not receive its
response. Its own errors are plain text.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from crnn_jax.serving.metrics import Metrics
from crnn_jax.serving.settings import Settings
from crnn_jax.serving.wire import error_response

_LINGER_SECONDS = 1.0  # from an error until the connection ends, so that the client receives it
# A chunk of a body takes tens of microseconds to parse, even if it has one byte.
_PIECE = 2**14  # bytes that are parsed between two checks
_OVERHEAD = 2**16  # bytes between chunks; more are allowed if the body is as large


class Connection(H11Protocol):
    """A connection with a deadline for the head of each request.

    uvicorn makes the objects, so `bounded` makes a class for each server.
    """

    settings: Settings
    metrics: Metrics
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None  # set while the client does not receive
    _has_part = False  # a part of a head was received
    _is_refused = False  # an error was sent; what the client still sends is ignored
    _counted: Any = None  # the request whose bytes are counted
    _overhead = 0  # bytes that arrive with its body and are not part of it
    _body = 0  # bytes of its body

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.metrics.connections.set(len(self.connections))
        self._wait_for_head()
        if len(self.connections) > 2 * self.settings.max_connections:
            self.metrics.refused.labels("many").inc()
            transport.abort()
        elif len(self.connections) > self.settings.max_connections:
            self._refuse("many", 503, "busy", "the server has too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._end_stall()
        super().connection_lost(exc)
        self.metrics.connections.set(len(self.connections))

    def data_received(self, data: bytes) -> None:
        self._has_part = True
        for start in range(0, len(data), _PIECE):
            if self._is_refused or self.transport.is_closing():
                return
            self._receive_piece(data[start : start + _PIECE])
        if self._is_busy():
            self._stop_waiting()

    def pause_writing(self) -> None:
        self._stalled = self.loop.call_later(self.settings.body_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._end_stall()
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._wait_for_head()
        super().on_response_complete()
        if self._is_busy():  # the next request arrived with this one
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        hint = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if hint == 431:
            most = self.settings.max_header
            self._refuse("invalid", 431, "header_too_large", f"the head has more than {most} bytes")
        else:
            self._refuse("invalid", 400, "bad_request", "this is not a valid HTTP request")

    def _receive_piece(self, piece: bytes) -> None:
        cycle = self.cycle
        is_body = cycle is not None and cycle.more_body
        before = len(cycle.body) if is_body else 0
        try:
            super().data_received(piece)
        except ValueError:  # a target with characters that are not ASCII
            self.send_400_response("")
            return
        if self._counted is not self.cycle:
            self._counted, self._overhead, self._body = self.cycle, 0, 0
        if is_body and cycle is self.cycle:  # else it may be the next request
            gained = len(self.cycle.body) - before
            self._body += gained
            self._overhead += len(piece) - gained
        if self._overhead > _OVERHEAD + self._body:
            self._refuse("invalid", 400, "bad_request", "the chunks of the body are too small")

    def _is_busy(self) -> bool:
        """Whether a request is being answered, which has its own deadlines."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return not is_answered and not self._is_refused

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._has_part = False
        self._deadline = self.loop.call_later(self.settings.header_seconds, self._expire)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _expire(self) -> None:
        """Ends a connection without a request, or whose client does not receive."""
        self._deadline = None
        if self._has_part and not self._is_refused and not self.transport.is_closing():
            seconds = self.settings.header_seconds
            self._refuse("slow", 408, "timeout", f"the head did not arrive within {seconds:g} s")
        else:
            self.transport.abort()

    def _refuse(self, reason: str, status: int, code: str, message: str) -> None:
        """Sends an error outside of a request, and ends the connection soon."""
        self.metrics.refused.labels(reason).inc()
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # the application may be sending a response
            return
        headers = {"Retry-After": "1"} if status == 503 else {}
        response = error_response(status, code, message, {"Connection": "close", **headers})
        lines = [b"HTTP/1.1 %d Error" % status]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        self.transport.write_eof()
        self._stop_waiting()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self._expire)


def bounded(settings: Settings, metrics: Metrics) -> type[Connection]:
    """Returns the class of connections with these bounds."""
    return type("Bounded", (Connection,), {"settings": settings, "metrics": metrics})
