"""The endpoints of the labeling page, and which requests they refuse.

Any page in the user's browser can send requests to this machine. So a request must have:

- a random token in a header. The page reads it from the fragment of its URL (after #), which
  browsers do not send, so it is in no log;
- a Host header that names the loopback interface, against DNS rebinding;
- the Origin of this server, if the browser sends an Origin.

The page cannot load anything from elsewhere. This module needs the extra `label`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from crnn_jax import schema
from crnn_jax.errors import CrnnError
from crnn_jax.labeling.label_rules import EntryError
from crnn_jax.labeling.server import HOST, Desk, Entry

_NAMES = (HOST, "localhost")
_TOKEN = "x-token"  # the header
_PAGE = Path(__file__).parent / "page" / "index.html"
_MOST = 2**16  # bytes of a request
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def application(desk: Desk, token: str, port: int) -> Starlette:
    """Returns the ASGI application.

    Args:
      desk: handles the requests.
      token: the secret that requests need.
      port: the port of the server, for the check of Origin.
    """
    found = _Endpoints(desk, token, port)
    actions = {"label": desk.label, "skip": desk.skip, "undo": desk.undo}
    return Starlette(
        routes=[
            Route("/", found.index),
            Route("/api/state", found.state),
            Route("/api/image/{number:int}", found.image),
            *(
                Route(f"/api/{name}", found.entry(action), methods=["POST"])
                for name, action in actions.items()
            ),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(_NAMES))],
    )


class _Endpoints:
    """The endpoints. All but the page need the token."""

    def __init__(self, desk: Desk, token: str, port: int):
        self._desk, self._token = desk, token
        self._origins = {f"http://{name}:{port}" for name in _NAMES}
        self._page = _PAGE.read_text(encoding="utf-8")
        self._page_headers = {**_HEADERS, "Content-Security-Policy": _policy(self._page)}

    async def index(self, _: Request) -> Response:
        """Returns the page."""
        return HTMLResponse(self._page, headers=self._page_headers)

    async def state(self, request: Request) -> Response:
        """Returns everything that the page shows."""
        return self._refusal(request) or _answer(await run_in_threadpool(self._desk.state))

    async def image(self, request: Request) -> Response:
        """Returns an image as PNG."""
        if refused := self._refusal(request):
            return refused
        try:
            content = await run_in_threadpool(self._desk.image, request.path_params["number"])
        except CrnnError as error:
            return _answer({"error": str(error)}, 404)
        return Response(content, headers=_HEADERS, media_type="image/png")

    def entry(
        self, action: Callable[[Entry], dict[str, Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Returns the endpoint that calls a method of the desk with an entry."""

        async def call(request: Request) -> Response:
            if refused := self._refusal(request):
                return refused
            if (content := await _body(request)) is None:
                return _answer({"error": f"more than {_MOST} bytes"}, 413)
            try:
                entry = schema.check(schema.document(content), Entry)
                return _answer(await run_in_threadpool(action, entry))
            except schema.InvalidError as error:
                return _answer({"error": str(error)}, 400)
            except EntryError as error:
                return _answer({"error": str(error), "confirm": error.needs_consent}, 409)
            except (CrnnError, OSError) as error:
                return _answer({"error": f"Not saved: {error}"}, 500)

        return call

    def _refusal(self, request: Request) -> Response | None:
        given = request.headers.get(_TOKEN, "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return _answer({"error": "open the address that the command printed"}, 401)
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins:
            return _answer({"error": "the request comes from another page"}, 403)
        return None


async def _body(request: Request) -> bytes | None:
    """Receives a body; None if it is too large."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MOST:
            return None
    return content


def _answer(values: Any, status: int = 200) -> Response:
    # In ASCII, because the name of the folder may not be UTF-8.
    return Response(json.dumps(values), status, _HEADERS, "application/json")


def _policy(page: str) -> str:
    """Returns the Content-Security-Policy that allows the page's own style and script only."""

    def digests(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(f.encode()).digest()).decode() for f in found)
        return " ".join(f"'sha256-{digest}'" for digest in hashes)

    return (
        f"default-src 'none'; script-src {digests('script')}; style-src {digests('style')}; "
        "img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
