"""A server in a separate process, and clients that load it and need little time themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax.data import image_io

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
_IDLE = 2.0  # seconds after which a connection is not used again


def files_of(folder: str) -> list[bytes]:
    """Returns the contents of the images of a folder, in order of name."""
    paths = sorted(Path(folder).iterdir())
    return [p.read_bytes() for p in paths if p.suffix.lower() in image_io.IMAGE_SUFFIXES]


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int):
        self.process, self.port = process, port

    def memory(self) -> dict[str, float]:
        """Returns the resident memory and its peak, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        names = {"resident": "VmRSS", "peak": "VmHWM"}
        found = {k: re.search(rf"{v}:\s+(\d+) kB", text) for k, v in names.items()}
        return {k: int(match[1]) / 1024 for k, match in found.items() if match}

    def forget_peak(self) -> None:
        """Resets the peak of memory. Does nothing without permission."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def served(run: str, *options: str) -> Iterator[Served]:
    """Runs `crnn-jax serve` until it is ready; ends it afterwards."""
    command = [sys.executable, "-m", "crnn_jax", "serve", run, "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as errors:  # a pipe that nobody reads could fill up
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            assert process.stdout is not None
            first, second = process.stdout.readline(), process.stdout.readline()
            if second != "ready\n":
                process.wait()
                errors.seek(0)
                raise RuntimeError(f"the server did not start: {errors.read()[-2000:]}")
            port = int(first.split(";")[0].rpartition(":")[2])
            yield Served(process, port)
        finally:
            process.kill()
            process.communicate()


class Answer(NamedTuple):
    status: int
    texts: list[str] | None  # None for an error


class Connection:
    """A connection that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> Answer:
        """Sends a request and receives its answer."""
        self.writer.write(request)
        await self.writer.drain()
        return await self.answer()

    async def answer(self) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None
        body = await self.reader.readexactly(int(length[1]))
        status = int(head.split(None, 2)[1])
        found = json.loads(body).get("results") if status == 200 else None
        return Answer(status, found and [result.get("text") for result in found])


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request_of(files: Sequence[bytes]) -> bytes:
    """Returns the bytes of a request: one raw image, or a form with several."""
    if len(files) == 1:
        kind, body = "application/octet-stream", files[0]
    else:
        kind = "multipart/form-data; boundary=xxboundaryxx"
        head = b'Content-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
        parts = [b"--xxboundaryxx\r\n" + head + file + b"\r\n" for file in files]
        body = b"".join(parts) + b"--xxboundaryxx--\r\n"
    lines = [
        "POST /v1/read HTTP/1.1",
        f"Host: {HOST}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Work:
    """Requests with their expected texts: the files of a folder, repeated."""

    def __init__(self, files: Sequence[bytes], texts: Sequence[str], count: int, each: int):
        """Makes requests of `each` images, of `count` images in all."""
        places = [[i % len(files) for i in range(s, s + each)] for s in range(0, count, each)]
        self.requests = [request_of([files[i] for i in some]) for some in places]
        self.texts = [[texts[i] for i in some] for some in places]
        self.images = sum(map(len, places))

    def check(self, number: int, answer: Answer) -> None:
        """Raises RuntimeError if a request was not answered with its texts."""
        if not self.is_right(number, answer):
            raise RuntimeError(f"request {number}: {answer}, expected {self.texts[number]}")

    def is_right(self, number: int, answer: Answer) -> bool:
        return answer == Answer(200, self.texts[number])


async def closed_loop(port: int, work: Work, clients: int) -> float:
    """Sends all requests from clients that each wait for their answer. Returns seconds.

    Raises:
      RuntimeError: a request was answered incorrectly.
    """
    numbers = iter(range(len(work.requests)))

    async def client() -> None:
        async with connected(port) as connection:
            for number in numbers:
                work.check(number, await connection.ask(work.requests[number]))

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - start


async def open_loop(port: int, work: Work, rate: float) -> list[float]:
    """Sends requests at fixed times, `rate` a second, whether or not others are answered.

    Returns:
      Seconds from the time at which each request was due to its answer.

    Raises:
      RuntimeError: a request was answered incorrectly.
    """
    idle: list[tuple[Connection, float]] = []  # with the time of the last answer
    seconds: list[float] = []

    async def one(number: int, due: float, stack: contextlib.AsyncExitStack) -> None:
        # The server closes connections that are idle for ten seconds.
        while idle and time.perf_counter() - idle[-1][1] > _IDLE:
            idle.pop()
        connection = idle.pop()[0] if idle else await stack.enter_async_context(connected(port))
        answer = await connection.ask(work.requests[number])
        seconds.append(time.perf_counter() - due)
        idle.append((connection, time.perf_counter()))
        work.check(number, answer)

    async with contextlib.AsyncExitStack() as stack:
        tasks, start = [], time.perf_counter()
        for number in range(len(work.requests)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.ensure_future(one(number, due, stack)))
        await asyncio.gather(*tasks)
    return seconds


async def drain(served_one: Served, work: Work, clients: int) -> dict[str, int]:
    """Sends a request on each of many connections, then SIGTERM, and counts the answers."""
    async with contextlib.AsyncExitStack() as stack:
        open_ones = [
            await stack.enter_async_context(connected(served_one.port)) for _ in range(clients)
        ]
        for number, connection in enumerate(open_ones):
            connection.writer.write(work.requests[number % len(work.requests)])
            await connection.writer.drain()
        # When a later request is answered, the server has received those before it.
        async with connected(served_one.port) as last:
            await last.ask(work.requests[0])
        served_one.process.send_signal(signal.SIGTERM)
        answers: list[Any] = await asyncio.gather(
            *(connection.answer() for connection in open_ones), return_exceptions=True
        )
    lost = sum(
        not isinstance(answer, Answer) or not work.is_right(number % len(work.requests), answer)
        for number, answer in enumerate(answers)
    )
    status = await asyncio.to_thread(served_one.process.wait, 120)
    return {"requests": clients, "lost": lost, "status": status}
