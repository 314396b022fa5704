"""How a labeling session ends: by signals, and with a report."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crnn_jax.labeling import reading, run
from crnn_jax.labeling.reading import ReadingThread
from tests.helpers.images import draw

pytest.importorskip("uvicorn")


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The reading thread is busy, as with a compilation, until a while after this event is set."""
    release = threading.Event()

    def compile_(_: ReadingThread) -> bool:
        release.wait()
        time.sleep(0.1)
        return False

    monkeypatch.setattr(reading, "_PATIENCE", 0)
    monkeypatch.setattr(ReadingThread, "advance", compile_)
    # A signal that has a handler of ours raises KeyboardInterrupt where it would end the process.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield release
    signal.signal(signal.SIGTERM, before)
    release.set()


def label(folder: Path, trained: Path) -> str:
    draw("ab7").save(folder / "ab7.png")
    return run.run(folder, str(trained), 0, 0, lambda _: signal.raise_signal(signal.SIGTERM))


def test_a_signal_ends_the_session_when_the_reading_thread_has_ended(
    trained: Path, tmp_path: Path, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process would be aborted if it ended while the thread compiles a program."""
    monkeypatch.setattr(run, "_say_waiting", busy.set)
    assert label(tmp_path, trained).startswith("0 of 1 images have a label in ")
    assert busy.is_set()
    assert "reading" not in {thread.name for thread in threading.enumerate()}


def test_a_second_signal_ends_it_at_once(
    trained: Path, tmp_path: Path, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_say_waiting", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, trained)
    assert not busy.is_set()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png"], "1 image cannot be opened: a.png: no image"),
        (["a.png", "b.png"], "2 images cannot be opened, such as a.png: no image"),
    ],
)
def test_the_report_counts_the_images_that_cannot_be_opened(
    trained: Path, tmp_path: Path, names: list[str], expected: str
) -> None:
    for name in names:
        draw("ab7").save(tmp_path / name)
    with run.opened(tmp_path, str(trained), 0) as desk:
        for number in range(len(names)):
            desk.session.pool.put_bad(number, "no image")
        assert run._report(desk).splitlines()[1:] == [expected]
