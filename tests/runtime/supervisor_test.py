"""The parent of a training process: whatever ends the child, one line says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crnn_jax.runtime import supervisor

PARENT = """
import sys
from crnn_jax.runtime import supervisor
sys.exit(supervisor.run([sys.executable, "-c", sys.argv[1]]))
"""
PAGE = """
import os, sys
print("a line of ours", file=sys.stderr)
print("W1127 14:43:39.557268   23992 preemption.cc:147] Failed", file=sys.stderr)
{fatal}
print("*** Check failure stack trace: ***\\n    @     0x7fde07a40634  absl", file=sys.stderr)
print("  File \\"x.py\\", line 3 in wait", file=sys.stderr, flush=True)
os.abort()
"""
FATAL = (
    'print("F1127 14:42:55.5   23794 client.h:80] Terminating process because the JAX distributed '
    'service detected fatal errors.", file=sys.stderr)'
)


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_page_of_a_lost_coordinator_becomes_one_line() -> None:
    process = start(PAGE.format(fatal=FATAL))
    _, said = process.communicate(timeout=60)
    assert said == (
        "a line of ours\n"
        "error: process 0 has ended, or its host is down; run the same command again on all hosts "
        "to continue from the last checkpoint\n"
    )
    assert process.returncode == 70


def test_another_abort_keeps_the_end_of_the_page() -> None:
    code = 'import os, sys; print("F1127 a check failed", file=sys.stderr, flush=True); os.abort()'
    process = start(code)
    _, said = process.communicate(timeout=60)
    assert said.startswith("F1127 a check failed\nerror: this process was ended by SIGABRT; run")
    assert process.returncode == 70


@pytest.mark.parametrize("status", [0, 1, 3])
def test_output_and_status_are_those_of_the_child(status: int) -> None:
    process = start(f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({status})")
    assert process.communicate(timeout=60) == ("out\n", "err\n")
    assert process.returncode == status


def test_a_signal_reaches_the_child_and_ends_the_parent_in_the_same_way() -> None:
    code = (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    print('saved', flush=True)\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = start(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("saved\n", "")
    assert process.returncode == -signal.SIGTERM


def test_the_input_of_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        f"open({os.fspath(tmp_path / 'ended')!r}, 'w').close()\n"
    )
    process = start(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=60)  # until the child has closed its output, too
    assert (tmp_path / "ended").exists()


def test_a_child_knows_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not supervisor.is_child()
    monkeypatch.setenv(supervisor.MARK, "1")
    assert supervisor.is_child()
