"""The watchdog of the long run detects memory and time limits."""

import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from crnn_jax.runtime import files
from tests.faults import forks, watch

CODES = {
    "uses": "import time; x = b'1' * 60_000_000; time.sleep(60)",
    "does nothing": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("what", CODES)
def test_a_process_that_takes_too_much_is_reported_and_stopped(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 40 MB for 60 MB that are allocated, and 1 s for a sleep of 60 s."""
    monkeypatch.setattr(watch, "MEMORY", 40 if what == "uses" else 1024)
    monkeypatch.setattr(watch, "LIMIT", 1.0 if what == "does nothing" else 60.0)
    process = subprocess.Popen([sys.executable, "-c", CODES[what]])
    below = watch.processes
    # Tests before this one may have left helpers of multiprocessing.
    monkeypatch.setattr(
        watch, "processes", lambda: {p: v for p, v in below().items() if p == process.pid}
    )
    with watch.Watch(0) as watcher:
        assert process.wait(30) == -6  # SIGABRT
    assert [f"process {process.pid} {what}" in failure for failure in watcher.failures] == [True]


def test_a_call_that_takes_too_long_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many short calls are not reported, although they take as long together."""
    wait = 0.0
    system = types.SimpleNamespace(O_RDONLY=0, open=lambda *_: time.sleep(wait) or 1 / 0)
    monkeypatch.setattr(files, "os", system)
    ended = watch.guard(tmp_path / "slow", tmp_path / "heartbeat", limit=0.6)
    for wait, count in ((0.1, 12), (2.0, 1)):
        for _ in range(count):
            with pytest.raises(ZeroDivisionError):
                files.read("a")
        found = watch.slow_calls(tmp_path / "slow")
        assert len(found) == (wait == 2.0)
    ended.set()
    assert "in read" in found[0]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # the child calls exec at once
def test_an_attempt_that_hangs_fails_with_its_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "LIMIT", 1.0)
    script = tmp_path / "hang.py"
    script.write_text("import time\ndef hang():\n    time.sleep(60)\nhang()\n")
    monkeypatch.setitem(forks._COMMANDS, "hang", [str(script)])
    request = {"program": "hang", "arguments": [], "out": tmp_path / "out", "err": tmp_path / "err"}
    attempt = forks.Command(request, {"PYTHONFAULTHANDLER": "1"})
    with pytest.raises(AssertionError, match=r"still running(?s:.*)in hang"):
        attempt.finish(0.5)
