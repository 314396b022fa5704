"""The server of the labeling page, on the loopback interface.

Any page in the user's browser can send requests to this machine. So a request must have:

- a random token in a header. The page reads it from the fragment of its URL (after #), which
  browsers do not send, so it is in no log;
- a Host header that names the loopback interface, against DNS rebinding;
- the Origin of this server, if the browser sends an Origin.

The page cannot load anything from elsewhere. Images are decoded here, with the limits of
`image_io`, and sent as PNG.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from crnn_jax import schema
from crnn_jax.data import image_io
from crnn_jax.errors import ConfigError, CrnnError, DataError
from crnn_jax.labeling.adapting import Adapter
from crnn_jax.labeling.reading import Reading
from crnn_jax.labeling.session import EntryError, Session
from crnn_jax.runs.run_dir import png

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
TOKEN_HEADER = "x-token"
_PAGE = Path(__file__).parent / "page" / "index.html"
_MOST = 2**16  # bytes of a request
_SIZE = (1024, 512)  # pixels of an image that is shown, at most


class _Entry(TypedDict):
    number: NotRequired[int]  # number of the image; not for undo
    text: NotRequired[str]
    confirmed: NotRequired[bool]


class Desk:
    """Handles the requests of the page, with a session, its reading thread and adaptations."""

    def __init__(self, session: Session, reading: Reading, adapter: Adapter):
        self.session, self.reading, self.adapter = session, reading, adapter

    def state(self) -> dict[str, Any]:
        """Returns everything that the page shows, as plain values."""
        session = self.session
        with session.lock:
            shown = session.current()
            progress = session.progress()
            last = next(iter(session.entries()[-1:]), None)
            state: dict[str, Any] = {
                "folder": session.folder.resolve().name,
                "progress": progress,
                "image": None,
                "next": session.upcoming(),
                "undo": None if last is None else {"file": last.file, "label": last.label},
                "estimate": self._estimate(),
                "adaptation": self.adapter.status._asdict(),
                "problem": self.reading.problem,
            }
            if shown is not None:
                guess = session.guess(shown.number)
                state["image"] = {
                    "number": shown.number,
                    "file": session.files[shown.number],
                    "drawn": shown.drawn,
                    "guess": guess.text,
                    "confidence": guess.confidence,
                    "characters": session.characters(shown.number),
                }
        return state

    def label(self, entry: _Entry) -> dict[str, Any]:
        """Saves a label and returns the new state. EntryError: see `Session.label`."""
        self.session.label(
            entry.get("number", -1), entry.get("text", ""), entry.get("confirmed", False)
        )
        return self._changed()

    def skip(self, entry: _Entry) -> dict[str, Any]:
        """Skips an image and returns the new state. EntryError: see `Session.label`."""
        self.session.skip(entry.get("number", -1))
        return self._changed()

    def undo(self, _: _Entry) -> dict[str, Any]:
        """Undoes the last entry and returns the new state. EntryError: there is none."""
        undone = self.session.undo()
        return {**self._changed(), "undone": {"file": undone.file, "label": undone.label}}

    def image(self, number: int) -> bytes:
        """Returns an image as PNG. DataError: it cannot be opened, or there is no such number."""
        if not 0 <= number < len(self.session.files):
            raise DataError("there is no such image")
        path = self.session.folder / self.session.files[number]
        image = image_io.flatten(image_io.open_image(path, self.adapter.frame))
        image.thumbnail(_SIZE)
        return png(image)

    def _changed(self) -> dict[str, Any]:
        self.reading.wake()
        return self.state()

    def _estimate(self) -> dict[str, Any]:
        """Returns the estimate of the current reader, and that of the reader before."""
        found = [
            {"reader": reader, **of._asdict(), "share": of.share}
            for reader, of in self.session.estimates().items()
        ]
        before = found[-2] if len(found) > 1 else None
        return {**found[-1], "before": before, "mean": self.session.pool.mean_confidence()}


def application(desk: Desk, token: str, port: int) -> Any:
    """Returns the ASGI application.

    Args:
      desk: handles the requests.
      token: the secret that requests need.
      port: the port of the server, for the check of Origin.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    origins = {f"http://{name}:{port}" for name in _NAMES}
    page = _PAGE.read_text(encoding="utf-8")
    page_headers = {"Content-Security-Policy": _policy(page)}
    common = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    def answer(values: Any, status: int = 200) -> Response:
        # In ASCII, because the name of the folder may not be UTF-8.
        return Response(json.dumps(values), status, common, "application/json")

    def refusal(request: Request) -> Response | None:
        given = request.headers.get(TOKEN_HEADER, "")
        if not secrets.compare_digest(given.encode(), token.encode()):
            return answer({"error": "open the address that the command printed"}, 401)
        origin = request.headers.get("origin")
        if origin is not None and origin not in origins:
            return answer({"error": "the request comes from another page"}, 403)
        return None

    async def index(_: Request) -> Response:
        return HTMLResponse(page, headers={**common, **page_headers})

    async def state(request: Request) -> Response:
        return refusal(request) or answer(await run_in_threadpool(desk.state))

    async def image(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        try:
            content = await run_in_threadpool(desk.image, request.path_params["number"])
        except CrnnError as error:
            return answer({"error": str(error)}, 404)
        return Response(content, headers=common, media_type="image/png")

    async def body(request: Request) -> bytes | None:
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > _MOST:
                return None
        return content

    def posted(action: Callable[[_Entry], dict[str, Any]]) -> Any:
        async def call(request: Request) -> Response:
            if refused := refusal(request):
                return refused
            if (content := await body(request)) is None:
                return answer({"error": f"more than {_MOST} bytes"}, 413)
            try:
                entry = schema.check(schema.document(content), _Entry)
                return answer(await run_in_threadpool(action, entry))
            except schema.InvalidError as error:
                return answer({"error": str(error)}, 400)
            except EntryError as error:
                return answer({"error": str(error), "confirm": error.needs_consent}, 409)
            except (CrnnError, OSError) as error:
                return answer({"error": f"Not saved: {error}"}, 500)

        return call

    actions = {"label": desk.label, "skip": desk.skip, "undo": desk.undo}
    return Starlette(
        routes=[
            Route("/", index),
            Route("/api/state", state),
            Route("/api/image/{number:int}", image),
            *(Route(f"/api/{name}", posted(do), methods=["POST"]) for name, do in actions.items()),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(_NAMES))],
    )


def listen(port: int) -> socket.socket:
    """Returns a socket on the loopback interface. ConfigError: the port is in use."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()  # now, so that the page can be opened as soon as its address is printed
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--port {port}: {reason}; choose another, or 0 for any") from error
    return found


def engine(app: Any) -> Any:
    """Returns the uvicorn server of an application. `run(sockets=[...])` serves until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def check_installed() -> None:
    """Raises ConfigError if a package of the extra is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error}; install it: pip install 'crnn-jax[label]'") from error


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
