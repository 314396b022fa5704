"""Runs the training process of a host in a child process, to report its end in one line.

If process 0 of a run is gone, JAX's coordination service ends the others in C++, with a page of
log and the signal SIGABRT; Python cannot prevent it. The parent hides this output and
prints what happened. It uses neither jax nor the accelerator.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from crnn_jax.errors import for_terminal
from crnn_jax.runtime import signals
from crnn_jax.runtime.watchdog import STATUS

MARK = "CRNN_JAX_SUPERVISED"  # an environment variable of the child
# Logs of XLA. After a fatal one, only stack traces follow.
_NATIVE = re.compile(r"[IWEF]\d{4} |Additional GRPC error|:UNKNOWN:|WARNING: All log messages")
_FATAL = re.compile(r"F\d{4} |terminate called|Fatal Python error")
_LOST = "distributed service detected fatal errors"


def is_child() -> bool:
    """Whether this process was started by `run`."""
    return MARK in os.environ


def run(command: Sequence[str]) -> int:
    """Runs a command and returns its exit status. Passes signals on.

    The child ends, after a save, if this process is killed: see `signals.follow_input`.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, MARK: "1"},
        text=True,
        errors="replace",
        process_group=0,  # Ctrl-C would reach it twice
    )
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    for number in signals.STOPPING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: child.send_signal(number))
    page: list[str] = []
    assert child.stderr is not None
    relay = threading.Thread(target=_relay, args=(child.stderr, page), daemon=True)
    relay.start()
    status = child.wait()
    relay.join(5)
    for number, handler in before.items():
        signal.signal(number, handler)
    if status >= 0:
        return status
    if -status in signals.STOPPING:
        signals.exit_by_signal(signals.Interrupted("", -status))
    if any(_LOST in line for line in page):
        reason = "process 0 has ended, or its host is down"
    elif -status == signal.SIGKILL:
        reason = "this process was killed (SIGKILL), perhaps because memory ran out"
    else:
        reason = f"this process was ended by {signal.Signals(-status).name}"
        sys.stderr.write("".join(page[-20:]))
    print(
        f"error: {reason}; run the same command again on all hosts to continue from the last "
        "checkpoint",
        file=sys.stderr,
        flush=True,
    )
    return STATUS


def _relay(source: IO[str], page: list[str]) -> None:
    """Prints the lines of the child, except native logs. The last of these are kept in `page`."""
    is_fatal = False
    for line in source:
        is_fatal = is_fatal or bool(_FATAL.match(line))
        if is_fatal or _NATIVE.match(line):
            page.append(line)
            del page[:-200]
        else:
            print(for_terminal(line.rstrip("\n")), file=sys.stderr, flush=True)
