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


def bounded(settings: Settings, metrics: Metrics) -> type[H11Protocol]:
    """Returns the class of connections with these bounds."""

    class Bounded(H11Protocol):
        """A connection with a deadline for the head of each request."""

        _deadline: asyncio.TimerHandle | None = None
        _is_counted = False
        _has_part = False  # of a head

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._is_counted = True
            metrics.connections.inc()
            if len(self.connections) > settings.max_connections:
                metrics.refused.labels("many").inc()
                self._refuse(503, "busy", "the server has too many connections", retry=True)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._is_counted:
                self._is_counted = False
                metrics.connections.dec()
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._has_part = True
            try:
                super().data_received(data)
            except ValueError:  # a target with characters that are not ASCII
                self.send_400_response("")
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def on_response_complete(self) -> None:
            self._wait_for_head()
            super().on_response_complete()
            # The next request may have arrived with this one.
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def send_400_response(self, msg: str) -> None:
            metrics.refused.labels("invalid").inc()
            hint = getattr(sys.exc_info()[1], "error_status_hint", 400)
            if hint == 431:
                most = settings.max_header
                self._refuse(431, "header_too_large", f"the head has more than {most} bytes")
            else:
                self._refuse(400, "bad_request", "this is not a valid HTTP request")

        def _wait_for_head(self) -> None:
            self._stop_waiting()
            self._has_part = False
            self._deadline = self.loop.call_later(settings.header_seconds, self._expire)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _expire(self) -> None:
            """Closes a connection without a request, or whose client does not receive."""
            self._deadline = None
            if self._has_part and not self.transport.is_closing():
                metrics.refused.labels("slow").inc()
                seconds = settings.header_seconds
                self._refuse(408, "timeout", f"the head did not arrive within {seconds:g} s")
                self._deadline = self.loop.call_later(1.0, self._expire)
            else:
                self.transport.abort()

        def _refuse(self, status: int, code: str, message: str, retry: bool = False) -> None:
            """Sends an error without a request, and closes the connection."""
            response = error_response(status, code, message, {"Retry-After": "1"} if retry else {})
            lines = [b"HTTP/1.1 %d Error" % status, b"connection: close"]
            lines += [name + b": " + value for name, value in response.raw_headers]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
            self.transport.close()

    return Bounded
