"""The thread that ends a process if another one is gone, with the store replaced by a dict."""

from __future__ import annotations

import threading

import pytest

from crnn_jax.runtime import hosts, peers
from crnn_jax.runtime.peers import Peers
from crnn_jax.runtime.signals import Interrupted

WAIT = 10.0  # seconds; the thread needs a fraction of one


class Store:
    """A process 0 of three. The values of the others are set by the test."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.moving: set[int] = set()  # processes whose count goes on
        self.status: list[int] = []
        self.ended = threading.Event()
        self.reads = 0

    def end(self, status: int) -> None:
        self.status.append(status)
        self.ended.set()

    def put(self, key: str, value: str) -> None:
        self.values[key] = value

    def entries(self, folder: str) -> dict[str, str]:
        self.reads += 1
        self.values |= {f"crnn/alive/{i}": f"{self.reads} 1" for i in self.moving}
        return {k: v for k, v in self.values.items() if k.startswith(folder)}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    group = hosts._Group()
    group.count, group.names = 3, ("alpha", "beta", "gamma")
    monkeypatch.setattr(hosts, "_group", group)
    monkeypatch.setattr(hosts, "put", made.put)
    monkeypatch.setattr(hosts, "entries", made.entries)
    monkeypatch.setattr(peers, "PERIOD", 0.01)
    monkeypatch.setattr(peers, "SILENCE", 0.1)
    monkeypatch.setattr(peers, "_BUSY", 0.0)
    return made


def test_a_silent_process_is_named(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    store.moving = {2}
    with Peers(is_waiting=lambda: True, end=store.end):
        assert store.ended.wait(WAIT)
    said = capfd.readouterr().err
    assert said.startswith("error: process 1 of 3 (beta) has not answered for 0 s")
    assert said.count("\n") == 1
    assert store.status == [70]


def test_the_error_of_another_process_is_repeated(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    store.moving = {1, 2}
    store.values["crnn/ended/2"] = "the disk is full"
    with Peers(is_waiting=lambda: True, end=store.end):
        assert store.ended.wait(WAIT)
    assert capfd.readouterr().err == "error: process 2 of 3 (gamma) has ended: the disk is full\n"
    assert store.status == [1]


def test_a_process_that_does_nothing_ends_itself_and_says_so(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "IDLE", 0.1)
    monkeypatch.setattr(peers, "_BUSY", 1e9)  # all work counts as idle
    store.moving = {1, 2}
    with Peers(is_waiting=lambda: False, end=store.end):
        assert store.ended.wait(WAIT)
    assert "process 0 of 3 (alpha) is stuck" in capfd.readouterr().err
    assert "has done nothing" in store.values["crnn/ended/0"]


def test_a_stopped_process_0_is_named_although_the_store_waits_for_it(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts._group.index = 2
    released = threading.Event()
    monkeypatch.setattr(hosts, "put", lambda key, value: released.wait(WAIT))
    with Peers(is_waiting=lambda: True, end=store.end) as running:
        assert store.ended.wait(WAIT)
        assert not running.others_wait()
    released.set()
    assert "error: process 0 of 3 (alpha) has not answered" in capfd.readouterr().err


@pytest.mark.parametrize(("busy", "waits"), [(1e9, "1"), (0.0, "0")])
def test_processes_that_go_on_are_left_alone(
    store: Store,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    busy: float,
    waits: str,
) -> None:
    """One that is busy, because it compiles a step, does not wait for the others."""
    monkeypatch.setattr(peers, "_BUSY", busy)
    store.moving = {1, 2}
    with Peers(is_waiting=lambda: True, end=store.end) as running:
        while store.reads < 60:  # 30 periods, three times the silence
            store.ended.wait(0.01)
        assert running.others_wait()
    assert not store.status
    assert capfd.readouterr().err == ""
    assert store.values["crnn/alive/0"].endswith(f" {waits}")


def test_an_error_is_told_to_the_others_and_an_interruption_is_not(store: Store) -> None:
    store.moving = {1, 2}
    with pytest.raises(ValueError, match="one"), Peers(is_waiting=lambda: True, end=store.end):
        raise ValueError("one\ntwo")
    assert store.values.pop("crnn/ended/0") == "one"
    with pytest.raises(Interrupted), Peers(is_waiting=lambda: True, end=store.end):
        raise Interrupted("stopped", 15)
    assert "crnn/ended/0" not in store.values


def test_one_process_has_no_peers() -> None:
    before = threading.active_count()
    with Peers() as alone:
        assert threading.active_count() == before
        assert alone.others_wait()
        with pytest.raises(ValueError, match="UNAVAILABLE"), alone.explaining():
            raise ValueError("UNAVAILABLE")
