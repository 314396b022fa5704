"""Receives the body of a request within bounds, and finds the image files in it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import itertools
import re
from collections.abc import Iterator

import pydantic
from prometheus_client import Gauge
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from crnn_jax.errors import quote
from crnn_jax.serving.settings import Settings
from crnn_jax.serving.wire import JSON, ReadRequest, RequestError

FORM = "multipart/form-data"
RAW = "application/octet-stream"
ACCEPTED = f"send {FORM} with files, {JSON} with images in base64, or one image as image/* or {RAW}"
_FIELD_NAME = 100  # characters of the name of a form's field in an error
RETRY = {"Retry-After": "1"}


class Budget:
    """Counts the bytes of all bodies in memory. For one event loop."""

    def __init__(self, most: int, gauge: Gauge):
        self._most, self._used, self._gauge = most, 0, gauge

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Returns the share of a request, which is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._add(-share.taken)

    def _add(self, count: int) -> None:
        self._used += count
        self._gauge.set(self._used)

    def take(self, share: Share, count: int) -> None:
        """Adds bytes to a share. RequestError: there are too many in all."""
        if self._used + count > self._most:
            raise RequestError(
                503, "busy", "the server holds too many large requests; try again", RETRY
            )
        share.taken += count
        self._add(count)


class Share:
    """The bytes of one request."""

    def __init__(self, budget: Budget):
        self._budget, self.taken = budget, 0

    def take(self, count: int) -> None:
        """Takes bytes from the budget. RequestError: there are too many in all."""
        self._budget.take(self, count)


async def receive(request: Request, settings: Settings, share: Share) -> bytes:
    """Receives a body.

    The bound holds for the bytes that arrive, whatever Content-Length says.

    Raises:
      RequestError: the body is compressed (415), too large (413), arrives too slowly (408), or
        there is no memory for it (503).
      ClientDisconnect: the client left.
    """
    encoding = request.headers.get("content-encoding", "")
    if encoding.strip().lower() not in ("", "identity"):
        raise RequestError(
            415,
            "unsupported_media_type",
            f"Content-Encoding {quote(encoding)} is not supported; send the body uncompressed",
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > settings.max_body:
        raise _too_large(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > settings.max_body:
                    raise _too_large(settings)
                share.take(len(chunk))
                body += chunk
    except TimeoutError as error:
        raise RequestError(
            408, "timeout", f"the body did not arrive within {settings.body_seconds:g} s"
        ) from error
    return bytes(body)


def _too_large(settings: Settings) -> RequestError:
    return RequestError(
        413,
        "too_large",
        f"the body has more than {settings.max_body} bytes; send fewer or smaller images",
    )


def images(content_type: str, body: bytes, most: int) -> list[bytes | str]:
    """Returns the image files in a body; those in base64 are text.

    Args:
      content_type: the header Content-Type.
      body: the body.
      most: images of a request.

    Raises:
      RequestError: the body has no images, more than `most`, or another form than its type.
    """
    kind, options = parse_options_header(content_type)
    name = kind.decode("latin-1").strip().lower()
    if not body:
        raise RequestError(400, "bad_request", f"the body is empty; {ACCEPTED}")
    found: list[bytes | str]
    if name == JSON:
        found = [*_of_json(body, most)]
    elif name == FORM:
        found = [*_of_form(options.get(b"boundary", b""), body, most)]
    elif name.startswith("image/") or name == RAW:
        found = [body]
    else:
        raise RequestError(
            415, "unsupported_media_type", f"Content-Type {quote(content_type)}: {ACCEPTED}"
        )
    if len(found) > most:
        raise _too_many(most)
    return found


def _too_many(most: int) -> RequestError:
    return RequestError(413, "too_many_images", f"a request can have at most {most} images")


# Possessive, and it also matches a text that does not end, so that the time is linear.
_TEXT_OR_COMMA = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|,', re.DOTALL)
_OTHER_COMMAS = 8  # so that the error about a few wrong members names them


def _of_json(body: bytes, most: int) -> list[str]:
    # Counted before they are parsed, because millions of short texts take much more memory than
    # the body. There is a comma between two images.
    commas = (found for found in _TEXT_OR_COMMA.finditer(body) if found[0] == b",")
    if next(itertools.islice(commas, most + _OTHER_COMMAS, None), None):
        raise _too_many(most)
    try:
        return ReadRequest.model_validate_json(body.removeprefix(codecs.BOM_UTF8)).images
    except pydantic.ValidationError as error:
        raise RequestError(400, "bad_request", f"the JSON is not valid: {first(error)}") from error


def first(error: pydantic.ValidationError) -> str:
    """Describes the first problem of a value in one line, without the value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else problem["msg"]


# The parser leaves this parameter out. Its value is not used.
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')


class _Form:
    """Collects the files of a form."""

    def __init__(self, most: int):
        self.files: list[bytes] = []
        self.is_complete = False
        self._most = most
        self._header, self._value, self._disposition = b"", b"", b""
        self._parts: list[bytes] = []

    def begin(self) -> None:
        if len(self.files) == self._most:
            raise _too_many(self._most)
        self._disposition, self._parts = b"", []

    def field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options and not _EXTENDED_NAME.search(
            _QUOTED.sub(b'""', self._disposition)
        ):
            name = options.get(b"name", b"").decode(errors="replace")[:_FIELD_NAME]
            raise RequestError(
                400, "bad_request", f"the field {quote(name)} of the form is not a file"
            )

    def data(self, data: bytes, start: int, end: int) -> None:
        self._parts.append(data[start:end])

    def part_end(self) -> None:
        self.files.append(b"".join(self._parts))
        self._parts = []

    def end(self) -> None:
        self.is_complete = True


def _of_form(boundary: bytes, body: bytes, most: int) -> list[bytes]:
    if not boundary:
        raise RequestError(400, "bad_request", "the form is not valid: it has no boundary")
    form = _Form(most)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.field,
                "on_header_value": form.value,
                "on_header_end": form.header_end,
                "on_headers_finished": form.headers_finished,
                "on_part_data": form.data,
                "on_part_end": form.part_end,
                "on_end": form.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, "bad_request", f"the form is not valid: {error}") from error
    if not form.is_complete:
        raise RequestError(400, "bad_request", "the form is not valid: its end is missing")
    if not form.files:
        raise RequestError(400, "bad_request", f"the form has no files; {ACCEPTED}")
    return form.files
