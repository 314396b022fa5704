"""Bad requests of every kind to a server, with good ones in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import random
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from PIL import Image
from serving_load import Connection, Served, Work, connected, request_of

_TOGETHER = 32  # bad clients at a time
_EVERY = 10  # bad requests for a good one
_TIMEOUT = 60.0  # seconds for the answer to a bad request

# Returns the status of the answer, or a word if there is none.
Attack = Callable[[Connection, random.Random], Awaitable[int | str]]


def _raw(body: bytes, kind: str = "image/png", more: str = "", length: int | None = None) -> bytes:
    count = len(body) if length is None else length
    head = f"POST /v1/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {count}\r\n\r\n".encode() + body


def _png(width: int, height: int, content: bytes) -> bytes:
    """Returns a PNG that claims a size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# Sizes that the server refuses, the largest that it decodes, and many frames.
_BOMBS = (
    _png(50_000, 50_000, zlib.compress(bytes(2**24))),
    _png(2048, 2048, zlib.compress(bytes(2049 * 2048))),
    _png(64, 16, zlib.compress(bytes(2**26))),
    _saved(
        Image.new("L", (500, 500)),
        "GIF",
        save_all=True,
        append_images=[Image.new("L", (500, 500), i) for i in range(1, 100)],
    ),
)


async def _send(connection: Connection, request: bytes) -> int | str:
    try:
        connection.writer.write(request)
        await connection.writer.drain()
    except ConnectionError:
        pass  # the answer may have come before
    return await _status(connection)


async def _status(connection: Connection) -> int | str:
    try:
        status: int = (await connection.answer()).status
    except (ConnectionError, asyncio.IncompleteReadError):
        return "closed"
    return status


async def _noise(connection: Connection, draws: random.Random) -> int | str:
    return await _send(connection, draws.randbytes(draws.randint(1, 4000)) + b"\r\n\r\n")


async def _random_image(connection: Connection, draws: random.Random) -> int | str:
    start = draws.choice([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"BM"])
    return await _send(connection, _raw(start + draws.randbytes(draws.randint(1, 20_000))))


async def _cut_form(connection: Connection, draws: random.Random) -> int | str:
    _, _, body = request_of([b"abc" * 1000] * 3).partition(b"\r\n\r\n")
    cut = body[: draws.randrange(1, len(body) - 1)]
    return await _send(connection, _raw(cut, "multipart/form-data; boundary=xxboundaryxx"))


async def _many_parts(connection: Connection, draws: random.Random) -> int | str:
    part = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n'
    return await _send(connection, _raw(part * 5000, "multipart/form-data; boundary=b"))


async def _bad_base64(connection: Connection, draws: random.Random) -> int | str:
    text = draws.choice(["/etc/passwd", "!!!", "data:image/png;base64,%%", "YQ", "http://x/a.png"])
    return await _send(
        connection, _raw(json.dumps({"images": [text]}).encode(), "application/json")
    )


async def _bad_json(connection: Connection, draws: random.Random) -> int | str:
    body = draws.choice([b"[" * 10**5, b'{"images": 1e999}', b"\xff\xfe", b'{"images": [{}]}'])
    return await _send(connection, _raw(body, "application/json"))


async def _bomb(connection: Connection, draws: random.Random) -> int | str:
    content = draws.choice(_BOMBS)
    if draws.random() < 0.5:
        body = json.dumps({"images": [base64.b64encode(content).decode()] * 2}).encode()
        return await _send(connection, _raw(body, "application/json"))
    return await _send(connection, _raw(content))


async def _oversize(connection: Connection, draws: random.Random) -> int | str:
    if draws.random() < 0.5:
        return await _send(connection, _raw(bytes(2**16), length=2**40))
    head = (
        b"POST /v1/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    return await _send(
        connection, head + (b"100000\r\n" + bytes(2**20) + b"\r\n") * 40 + b"0\r\n\r\n"
    )


async def _small_chunks(connection: Connection, draws: random.Random) -> int | str:
    head = (
        b"POST /v1/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    return await _send(connection, head + b"1\r\na\r\n" * 10**5)


async def _aborted(connection: Connection, draws: random.Random) -> int | str:
    request = request_of([draws.randbytes(20_000)])
    connection.writer.write(request[: draws.randrange(len(request))])
    with contextlib.suppress(ConnectionError):
        await connection.writer.drain()
    connection.writer.transport.abort()
    return "aborted"


async def _left(connection: Connection, draws: random.Random) -> int | str:
    """Leaves after the request, without waiting for the answer."""
    connection.writer.write(_raw(_BOMBS[1]))
    with contextlib.suppress(ConnectionError):
        await connection.writer.drain()
    return "aborted"


async def _slow(connection: Connection, draws: random.Random) -> int | str:
    """Sends a byte a second, of the head or of the body."""
    request = _raw(bytes(10_000))
    sent = draws.choice([10, request.index(b"\r\n\r\n") + 10])
    connection.writer.write(request[:sent])
    status = asyncio.ensure_future(_status(connection))
    while not status.done():
        with contextlib.suppress(ConnectionError):
            connection.writer.write(request[sent : sent + 1])
            await connection.writer.drain()
        sent += 1
        await asyncio.wait({status}, timeout=1)
    return await status


ATTACKS: dict[str, Attack] = {
    "random bytes": _noise,
    "random image": _random_image,
    "truncated form": _cut_form,
    "form of many parts": _many_parts,
    "wrong base64": _bad_base64,
    "wrong JSON": _bad_json,
    "decompression bomb": _bomb,
    "oversize body": _oversize,
    "chunks of a byte": _small_chunks,
    "aborted connection": _aborted,
    "left before the answer": _left,
}
SLOW = "slow client"
_SLOW_SHARE = 0.01  # each of them lasts many seconds


async def abuse(target: Served, work: Work, count: int, seed: int = 0) -> dict[str, Any]:
    """Sends bad requests, and a good one for every ten.

    Returns:
      The answers by kind of request, the good requests and those that were not answered rightly,
      and memory in MiB.
    """
    draws = random.Random(seed)
    names = [draws.choice(sorted(ATTACKS)) for _ in range(count)]
    slow = [SLOW] * round(count * _SLOW_SHARE)
    answers: dict[str, Counter[str]] = {}
    good, wrong = 0, 0
    jobs = iter(enumerate(names))

    async def attack(name: str, number: int) -> None:
        call = _slow if name == SLOW else ATTACKS[name]
        try:
            async with asyncio.timeout(_TIMEOUT), connected(target.port) as connection:
                found = str(await call(connection, random.Random(f"{seed} {number}")))
        except TimeoutError:
            found = "no answer"
        except (ConnectionError, asyncio.LimitOverrunError) as error:
            found = type(error).__name__
        answers.setdefault(name, Counter())[found] += 1

    async def attacker() -> None:
        nonlocal good, wrong
        for number, name in jobs:
            await attack(name, number)
            if number % _EVERY == 0:
                which = number // _EVERY % len(work.requests)
                good += 1
                try:
                    async with connected(target.port) as connection:
                        answer = await connection.ask(work.requests[which])
                    wrong += not work.is_right(which, answer)
                except (ConnectionError, asyncio.IncompleteReadError):
                    wrong += 1

    before = target.memory()
    target.forget_peak()
    await asyncio.gather(
        *(attacker() for _ in range(_TOGETHER)),
        *(attack(name, -number) for number, name in enumerate(slow)),
    )
    async with connected(target.port) as connection:
        serves = work.is_right(0, await connection.ask(work.requests[0]))
    return {
        "bad requests": count + len(slow),
        "answers": {name: dict(found) for name, found in sorted(answers.items())},
        "good requests": good,
        "good requests not answered rightly": wrong,
        "serves afterwards": serves,
        "MiB before": before["resident"],
        "MiB at the peak": target.memory()["peak"],
        "MiB afterwards": target.memory()["resident"],
    }
