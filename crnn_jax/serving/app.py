"""The web application: its endpoints over a reader and a queue."""

from __future__ import annotations

import asyncio
import dataclasses
import http
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

import crnn_jax
from crnn_jax.models import crnn
from crnn_jax.serving import bodies, docs_page, wire
from crnn_jax.serving.batcher import Batcher, Engine, QueueFullError, ReadingError
from crnn_jax.serving.guard import LEFT, Guard
from crnn_jax.serving.metrics import CONTENT_TYPE, Metrics
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.settings import Settings
from crnn_jax.serving.wire import RequestError

_DESCRIPTION = "Reads text captchas: images in, texts with confidences out."
_STATUSES = {
    400: "The body or the query is not valid.",
    401: "The token is missing or wrong.",
    403: "The header Host or Origin is not one of this machine.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or it has too many images.",
    415: "The body is of a type that is not supported.",
    422: "The only image of the request cannot be read.",
    500: "The server failed.",
    503: "The server is busy, starting or stopping; try again after Retry-After seconds.",
    504: "The images were not read in time.",
}
_FILES = {
    "type": "object",
    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            bodies.FORM: {"schema": _FILES},
            wire.JSON: {"schema": wire.ReadRequest.model_json_schema()},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            bodies.RAW: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
# Endpoints that need no token and reveal nothing about the reader.
_OPEN = ("/healthz", "/readyz", "/docs", "/openapi.json")
_LARGE = 2**16  # bytes of a body that is parsed in a thread
_NO_TELEMETRY: Any = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)


@dataclasses.dataclass
class Service:
    """The application of a server with its parts, without a socket."""

    app: ASGIApp
    batcher: Batcher
    metrics: Metrics
    is_draining: bool = False  # the server was asked to stop


def make(
    engine: Engine,
    description: wire.ReaderResponse,
    settings: Settings,
) -> Service:
    """Makes the application. Its lifespan starts and closes the queue.

    Args:
      engine: decodes and reads images.
      description: the description of the reader for clients.
      settings: the bounds, and the token.
    """
    counters = Metrics()
    queue = Batcher(engine, counters, settings.max_queue, settings.batch_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        yield
        # In a thread: requests that were canceled must be able to drop their images.
        await asyncio.to_thread(queue.close, settings.drain_seconds)

    app = FastAPI(
        title="crnn-jax",
        description=_DESCRIPTION,
        version=crnn_jax.__version__,
        docs_url=None,  # its page loads scripts from another site
        redoc_url=None,
        openapi_url=None,
        telemetry=_NO_TELEMETRY,
        lifespan=lifespan,
    )
    service = Service(app, queue, counters)
    _add_errors(app)
    _add_reading(app, service, settings)
    _add_information(app, service, description)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    service.app = Guard(app, counters, settings, paths, _OPEN)
    return service


def describe(programs: Programs) -> wire.ReaderResponse:
    """Describes a reader for clients."""
    reader, decoder = programs.reader, programs.decoder
    section = reader.config.data
    return wire.ReaderResponse(
        version=crnn_jax.__version__,
        symbols=[*reader.charset.symbols],
        lengths=(decoder.shortest, decoder.longest) if decoder.longest else None,
        input=wire.InputSize(
            width=None if reader.width_by_image else section.width,
            height=section.height,
            channels=section.channels,
        ),
        epoch=reader.epoch,
        fingerprint=reader.fingerprint,
        params_sha256=crnn.params_sha256(reader.params),
    )


def _add_reading(app: FastAPI, service: Service, settings: Settings) -> None:
    queue = service.batcher
    budget = bodies.Budget(settings.max_bodies, service.metrics.body_bytes)

    @app.post(
        "/v1/read",
        response_model=wire.ReadResponse,
        responses=_errors(*_STATUSES),
        openapi_extra=_BODY,
    )
    async def read(request: Request, options: Annotated[wire.ReadOptions, Query()]) -> Response:
        """Read images.

        Returns a result for each image, in order. An image that cannot be read has an error as its
        result. If it is the only one, the response is that error, with status 422.
        """
        _check_ready(queue)
        if queue.is_full:  # before the body is received
            raise _busy()
        with budget.share() as share:
            body = await bodies.receive(request, settings, share)
            kind = request.headers.get("content-type", "")
            if len(body) > _LARGE:
                found = await asyncio.to_thread(bodies.images, kind, body, settings.max_images)
            else:
                found = bodies.images(kind, body, settings.max_images)
            del body
            readings = await _readings(request, queue, found, options.explain, settings)
        results = [wire.to_result(reading, settings.min_confidence) for reading in readings]
        if len(results) == 1 and isinstance(results[0], wire.ErrorResult):
            return wire.to_json(results[0], 422)
        return wire.to_json(wire.ReadResponse(results=results))


async def _readings(
    request: Request,
    queue: Batcher,
    images: list[bytes | str],
    explain: bool,
    settings: Settings,
) -> list[Any]:
    """Reads images while the client waits. If it leaves, its images leave the queue."""
    reading = asyncio.ensure_future(queue.read(images, explain))
    leaving = asyncio.ensure_future(request.receive())  # ends when the client leaves
    try:
        await asyncio.wait(
            {reading, leaving},
            timeout=settings.answer_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if reading.done():
            return reading.result()
        if leaving.done():
            raise ClientDisconnect
        raise RequestError(
            504,
            "deadline",
            f"the images were not read within {settings.answer_seconds:g} s; send fewer at a time",
        )
    except QueueFullError as error:
        raise _busy() from error
    except ReadingError as error:
        raise RequestError(
            500, "internal", "the model failed; the server's log says why"
        ) from error
    finally:
        reading.cancel()
        leaving.cancel()
        del reading  # its error refers to this frame, which would keep the images


def _add_information(app: FastAPI, service: Service, description: wire.ReaderResponse) -> None:
    queue = service.batcher

    @app.get("/v1/reader", responses=_errors(401, 403))
    async def reader() -> wire.ReaderResponse:
        """Describe the reader."""
        return description

    @app.head("/healthz", include_in_schema=False)  # as load balancers ask
    @app.get("/healthz")
    async def healthz() -> wire.Status:
        """Report that the process is alive."""
        return wire.Status(status="ok")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses=_errors(503))
    async def readyz() -> wire.Status:
        """Report whether the server accepts requests: not while it starts or stops."""
        _check_ready(queue)
        if service.is_draining:
            raise RequestError(503, "stopping", "the server is stopping", bodies.RETRY)
        return wire.Status(status="ready")

    @app.get("/metrics", response_class=PlainTextResponse, responses=_errors(401, 403))
    async def metrics() -> Response:
        """Return metrics for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    async def schema() -> dict[str, Any]:
        return app.openapi()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return docs_page.page(app.openapi())


def _check_ready(queue: Batcher) -> None:
    if not queue.is_warm:
        raise RequestError(503, "starting", "the reader is being compiled", bodies.RETRY)


def _busy() -> RequestError:
    return RequestError(503, "busy", "the queue is full; try again", bodies.RETRY)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": wire.ErrorResult, "description": _STATUSES[status]} for status in statuses
    }


def _add_errors(app: FastAPI) -> None:
    """Converts all errors to JSON of one form."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> Response:
        return wire.error_response(error.status, error.code, error.message, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        return wire.error_response(400, "bad_request", f"{place}: {problem['msg']}")

    @app.exception_handler(HTTPException)
    async def not_found(_: Request, error: HTTPException) -> Response:
        code, headers = http.HTTPStatus(error.status_code).name.lower(), dict(error.headers or {})
        allowed = f"; use {headers['Allow']}" if "Allow" in headers else ""
        return wire.error_response(error.status_code, code, f"{error.detail}{allowed}", headers)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)

    @app.exception_handler(Exception)  # the guard logs it
    async def failed(_: Request, error: Exception) -> Response:
        return wire.error_response(500, "internal", "the server failed; its log says why")
