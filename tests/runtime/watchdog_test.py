"""A process that waits for ever against one that is slow, both in processes of their own."""

import subprocess
import sys

from crnn_jax.runtime import watchdog

WAIT = "import threading\nwith dog.waiting(): threading.Event().wait(60)"
WORK = (
    "import time; end = time.monotonic() + 3\n"
    "with dog.waiting():\n  while time.monotonic() < end: pass"
)
STEPS = "import time\nfor _ in range(30):\n  with dog.waiting(): time.sleep(0.1)"
PIPE = "import time; time.sleep(3)"  # what blocks outside of a step, as a full pipe does


def run(body: str) -> subprocess.CompletedProcess[str]:
    code = "from crnn_jax.runtime.watchdog import Watchdog\n"
    code += "with Watchdog('try X', limit=1.5) as dog:\n"
    code += "\n".join("    " + line for line in body.splitlines())
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )


def test_a_process_that_waits_for_ever_ends_with_one_line() -> None:
    done = run(WAIT)
    assert done.returncode == watchdog.STATUS
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: training is stuck: no step has ended for ")
    assert line.endswith("; try X")


def test_neither_work_nor_steps_nor_pipes_are_taken_for_a_hang() -> None:
    for body in (WORK, STEPS, PIPE):
        done = run(body)
        assert (done.returncode, done.stderr) == (0, "")
