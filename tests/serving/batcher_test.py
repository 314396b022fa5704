"""The queue, with a reader whose answers are known and that waits when a test says so."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from crnn_jax.errors import DataError
from crnn_jax.inference.explain import Explanation
from crnn_jax.serving.batcher import Batcher, QueueFullError, ReadingError
from crnn_jax.serving.metrics import Metrics
from tests.helpers.echo_engine import Echo


class Queue:
    """A started queue and its reader."""

    def __init__(self, sizes: tuple[int, ...] = (1, 4), most: int = 100, wait: float = 3600):
        self.engine, self.metrics = Echo(sizes), Metrics()
        self.batcher = Batcher(self.engine, self.metrics, most, wait)

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Runs a test, and checks that the queue is empty and ends afterwards."""
        self.batcher.start()
        try:
            asyncio.run(asyncio.wait_for(test, 60))
        finally:
            self.engine.gate.set()
            self.engine.decoding.set()
            self.batcher.close(60)
        assert self.metrics.registry.get_sample_value("crnn_jax_queue_images") == 0

    async def entered(self) -> None:
        """Waits until the model begins with a batch."""
        assert await asyncio.to_thread(self.engine.entered.acquire, timeout=60)

    async def read(self, *texts: str, explain: bool = False) -> list[Any]:
        return await self.batcher.read([text.encode() for text in texts], explain)

    def images(self, outcome: str) -> float | None:
        name = "crnn_jax_images_total"
        return self.metrics.registry.get_sample_value(name, {"outcome": outcome})


def test_every_request_gets_its_own_results_in_order() -> None:
    queue = Queue(wait=0.001)
    draws = random.Random(0)
    # Texts of seven widths, of which some cannot be decoded.
    requests = [
        [
            draws.choice(["bad", "x" * draws.randint(1, 7)]) + str(i)
            for i in range(draws.randint(1, 9))
        ]
        for _ in range(60)
    ]

    async def test() -> None:
        for first in range(0, len(requests), 10):
            some = requests[first : first + 10]
            found = await asyncio.gather(*(queue.read(*texts) for texts in some))
            for texts, results in zip(some, found, strict=True):
                read = ["bad" if isinstance(r, DataError) else r.text for r in results]
                assert read == ["bad" if t.startswith("bad") else t for t in texts]

    queue.run(test())
    texts = [text for request in requests for text in request]
    num_bad = sum(text.startswith("bad") for text in texts)
    assert queue.images("read") == len(texts) - num_bad
    assert queue.images("unreadable") == num_bad


def test_a_batch_has_images_of_one_width_and_one_kind_of_answer() -> None:
    queue = Queue(sizes=(1, 2, 3, 4))
    queue.engine.decoding.clear()

    async def test() -> None:
        reading = [
            asyncio.ensure_future(queue.read("slow1", "slow22", "slow3")),
            asyncio.ensure_future(queue.read("slow4", explain=True)),
        ]
        await asyncio.sleep(0)  # all are in the queue
        queue.engine.decoding.set()
        found = await asyncio.gather(*reading)
        assert [type(results[0]) is Explanation for results in found] == [False, True]

    queue.run(test())
    expected = [["slow1", "slow3"], ["slow22"], ["slow4"]]
    assert sorted(map(sorted, queue.engine.batches)) == expected


def test_images_of_several_requests_fill_a_batch_while_others_are_decoded() -> None:
    queue = Queue()
    queue.engine.decoding.clear()

    async def test() -> None:
        reading = [asyncio.ensure_future(queue.read("slow1", "slow2", "slow3")) for _ in range(3)]
        await asyncio.sleep(0)  # all are in the queue
        queue.engine.decoding.set()
        await asyncio.gather(*reading)

    queue.run(test())
    # Nine images: a batch of four begins as soon as it is full.
    assert [len(batch) for batch in queue.engine.batches] == [4, 4, 1]


@pytest.mark.parametrize(("wait", "batches"), [(3600, [["a", "s"]]), (0, [["a"], ["s"]])])
def test_a_ready_image_waits_for_those_that_are_decoded_but_not_longer(
    wait: float, batches: list[list[str]]
) -> None:
    queue = Queue(sizes=(1, 2), wait=wait)
    queue.engine.decoding.clear()
    decode = queue.engine.decode

    def short(content: bytes | str) -> Any:  # 'slow' is as wide as the other image
        decoded = decode(content)
        return decode(b"s") if content == b"slow" else decoded

    queue.engine.decode = short  # type: ignore[method-assign]

    async def test() -> None:
        slow = asyncio.ensure_future(queue.read("slow"))
        fast = asyncio.ensure_future(queue.read("a"))
        if not wait:
            assert (await fast)[0].text == "a"  # although the other image is not decoded yet
        else:  # the thread that reads has seen that the first is ready
            assert await asyncio.to_thread(queue.engine.asked.acquire, timeout=60)
        queue.engine.decoding.set()
        await asyncio.gather(slow, fast)

    queue.run(test())
    assert sorted(map(sorted, queue.engine.batches)) == batches


def test_a_full_queue_refuses_whole_requests_and_recovers() -> None:
    queue = Queue(most=3)
    queue.engine.gate.clear()

    async def test() -> None:
        first = asyncio.ensure_future(queue.read("a", "b"))
        await queue.entered()
        with pytest.raises(QueueFullError):
            await queue.read("c", "d")
        assert not queue.batcher.is_full
        second = asyncio.ensure_future(queue.read("e"))
        await asyncio.sleep(0)
        assert queue.batcher.is_full
        queue.engine.gate.set()
        found = await asyncio.gather(first, second)
        assert [[r.text for r in results] for results in found] == [["a", "b"], ["e"]]
        assert [r.text for r in await queue.read("f", "g", "h")] == ["f", "g", "h"]

    queue.run(test())
    assert {"c", "d"}.isdisjoint(itertools.chain(*queue.engine.batches))


def test_images_of_a_client_that_left_are_not_read() -> None:
    queue = Queue(most=6)
    queue.engine.gate.clear()

    async def test() -> None:
        first = asyncio.ensure_future(queue.read("a"))
        await queue.entered()
        queue.engine.decoding.clear()
        second = asyncio.ensure_future(queue.read("x", "y", "slow", "slow"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        queue.engine.decoding.set()
        queue.engine.gate.set()
        assert (await first)[0].text == "a"
        assert [r.text for r in await queue.read("b")] == ["b"]

    queue.run(test())
    assert queue.engine.batches == [["a"], ["b"]]
    assert queue.images("dropped") == 4


@pytest.mark.parametrize("text", ["fail", "raise"])
def test_an_error_of_the_program_ends_its_request_alone(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue()

    async def test() -> None:
        with pytest.raises(ReadingError):
            await queue.read("a", text, "bb", "ccc")
        assert [r.text for r in await queue.read("d")] == ["d"]

    queue.run(test())
    assert "ZeroDivisionError" in caplog.text
    assert queue.images("failed")
    assert not queue.images("dropped")


def test_a_queue_that_is_closed_finishes_its_images_and_refuses_others() -> None:
    queue = Queue(wait=0)
    queue.engine.gate.clear()
    queue.engine.decoding.clear()

    async def test() -> None:
        waiting = asyncio.ensure_future(queue.read("a", "bb", "slow"))
        await queue.entered()
        closing = asyncio.ensure_future(asyncio.to_thread(queue.batcher.close, 60))
        while not queue.batcher._is_closed:  # set by the thread, which then waits for the images
            await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await queue.read("d")
        queue.engine.gate.set()
        while queue.images("read") != 2:
            await asyncio.sleep(0)
        # One image is not decoded yet.
        await asyncio.to_thread(queue.batcher._thread.join, 0.05)
        assert queue.batcher._thread.is_alive()
        queue.engine.decoding.set()
        assert [r.text for r in await waiting] == ["a", "bb", "slow"]
        await closing

    queue.run(test())
    assert not queue.batcher._thread.is_alive()


def test_a_failed_warm_up_is_reported() -> None:
    queue = Queue()
    queue.engine.failure = MemoryError()
    ended: list[bool] = []
    queue.batcher.ended = lambda: ended.append(queue.batcher.is_warm)
    queue.batcher.start()
    queue.batcher._thread.join(60)
    assert ended == [False]
    assert queue.batcher.failure is queue.engine.failure
    queue.batcher.close(0)
