"""A process that waits forever, and one that is slow, both in processes of their own."""

import subprocess
import sys

from crnn_jax.runtime import watchdog

WAIT = "import threading\nwith dog.waiting(): threading.Event().wait(60)"
WORK = (
    "import time; end = time.monotonic() + 3\n"
    "with dog.waiting():\n  while time.monotonic() < end: pass"
)
STEPS = "import time\nfor _ in range(30):\n  with dog.waiting(): time.sleep(0.1)"
PIPE = "import time; time.sleep(3)"  # blocks outside of a step, like a full pipe


def start(body: str) -> subprocess.Popen[str]:
    code = "from crnn_jax.runtime.watchdog import Watchdog\n"
    code += "with Watchdog('try X', limit=1.5) as dog:\n"
    code += "\n".join("    " + line for line in body.splitlines())
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)


def test_a_process_that_waits_for_ever_ends_with_one_line() -> None:
    process = start(WAIT)
    out, err = process.communicate(timeout=50)
    assert process.returncode == watchdog.STATUS
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: training is stuck: no step has finished for ")
    assert line.endswith("; try X")


def test_neither_work_nor_steps_nor_pipes_are_taken_for_a_hang() -> None:
    for process in [start(body) for body in (WORK, STEPS, PIPE)]:
        _, err = process.communicate(timeout=50)
        assert (process.returncode, err) == (0, "")
