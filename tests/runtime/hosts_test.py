"""Values that the processes of a run exchange, with a store that is a dict shared by threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crnn_jax.errors import CrnnError, DeviceError
from crnn_jax.runtime import hosts
from crnn_jax.runtime.signals import SignalWatcher


class Client:
    """The part of JAX's coordination client that is used."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.changed = threading.Condition()

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key: str, timeout: int) -> str:
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout / 1000):
                raise RuntimeError("DEADLINE_EXCEEDED")
            return self.values[key]

    def key_value_delete(self, key: str) -> None:
        with self.changed:
            for name in [n for n in self.values if n == key or n.startswith(f"{key}/")]:
                del self.values[name]


def on_each(monkeypatch: pytest.MonkeyPatch, count: int, call: Any) -> tuple[list[Any], Client]:
    """Calls `call(index)` in a thread for each process. Returns the results and the store."""
    client, local = Client(), threading.local()

    class Group:
        """Gives each thread a group of its own."""

        def __getattr__(self, name: str) -> Any:
            return getattr(local.group, name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(local.group, name, value)

    def work(index: int) -> Any:
        local.group = hosts._Group()
        local.group.index, local.group.count, local.group.client = index, count, client
        local.group.names = tuple("abcd"[:count])
        return call(index)

    monkeypatch.setattr(hosts, "_group", Group())
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count))), client


def test_all_get_the_value_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = on_each(monkeypatch, 3, lambda i: [hosts.share(i), hosts.share(0.1 + i), i])
    assert found == [[0, 0.1, 0], [0, 0.1, 1], [0, 0.1, 2]]


def test_all_get_the_values_of_all_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = on_each(monkeypatch, 4, lambda i: hosts.gather({"n": i}))
    assert found == [[{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}]] * 4


def test_the_store_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(index: int) -> Any:
        return [hosts.gather(n + index) for n in range(300)][-1]

    found, client = on_each(monkeypatch, 2, call)
    assert found == [[299, 300]] * 2
    assert len(client.values) <= 4  # of the last call


def test_a_difference_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(index: int) -> str:
        with pytest.raises(CrnnError) as error:
            hosts.agree({"size": 1, "the digest": "x" if index < 2 else "y"}, "copy it")
        return str(error.value)

    found, _ = on_each(monkeypatch, 3, call)
    assert (
        found == ["the digest: y on process 2 of 3 (c), but x on process 0 of 3 (a); copy it"] * 3
    )


def test_a_signal_to_one_stops_all_at_the_same_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(index: int) -> tuple[int, int | None]:
        watcher = SignalWatcher()
        for number in range(100):
            if number == 12 and index == 1:
                watcher.number = 15
            if watcher.was_received(number):
                return number, watcher.number
        return -1, None

    found, _ = on_each(monkeypatch, 3, call)
    assert found == [(20, 15)] * 3  # the next exchange after call 12


def test_one_process_needs_no_store() -> None:
    assert hosts.share("x") == "x"
    assert hosts.gather("x") == ["x"]
    hosts.barrier()
    hosts.agree({"it": 1}, "")
    assert hosts.is_first()
    assert not hosts.is_waiting()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("coordinator_address should be defined.", "give each process --coordinator=HOST:PORT"),
        ("DEADLINE_EXCEEDED: Barrier timed out", "did not find each other at h:1 within 5 s"),
        ("something else", "cannot connect: something else"),
    ],
)
def test_why_processes_do_not_join(said: str, expected: str) -> None:
    assert expected in hosts._why_not_joined(ValueError(said), hosts.Address("h:1"), 5)


def test_a_lost_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("UNAVAILABLE: Socket closed")

    monkeypatch.setattr(Client, "blocking_key_value_get", fail)

    def call(index: int) -> str:
        if index == 0:
            return ""
        with pytest.raises(DeviceError) as error:
            hosts.share(1)
        return str(error.value)

    found, _ = on_each(monkeypatch, 2, call)
    assert found[1].startswith("the connection to process 0 of 2 (a) was lost: UNAVAILABLE")
