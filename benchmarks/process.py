"""Whole processes, timed from the command to a line that they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_LOOK_EVERY = 0.005  # seconds; what a process is charged too much at most


class Outcome(NamedTuple):
    seconds: float  # from the command to the line, or to the end without one
    line: str | None  # None: the process ended without it
    peak_mib: float  # of memory


def until(
    command: Sequence[str | os.PathLike[str]],
    wanted: Callable[[str], bool],
    file: Path | None = None,
    variables: Mapping[str, str] = {},
    patience: float = 3600,
) -> Outcome:
    """Runs a command until a line of `file`, or else of its output, is wanted; then ends it.

    Raises:
      RuntimeError: it failed, with the end of what it said, or the line did not come in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as stream:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        found, seconds, ended = None, 0.0, False
        read = 0  # bytes of the file that were looked at
        try:
            while found is None and not ended and seconds < patience:
                time.sleep(_LOOK_EVERY)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                ended = pid != 0
                seconds = time.perf_counter() - start
                lines, read = _new_lines(file or output, read)
                found = next((line for line in lines if wanted(line)), None)
        finally:  # Ctrl-C comes here too: the process has a session of its own
            if not ended:
                # A process that ends by itself tears down much; what counts is over.
                os.killpg(process.pid, signal.SIGKILL)
                _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0  # it is waited for
        if found is None and (status or not ended):
            said = output.read_text(errors="replace")[-2000:]
            what = "failed" if ended else f"gave no line within {patience} s"
            raise RuntimeError(f"{' '.join(map(str, command))} {what}:\n{said}")
        return Outcome(seconds, found, usage.ru_maxrss / 1024)


def _new_lines(file: Path, read: int) -> tuple[list[str], int]:
    """The whole lines after the first `read` bytes, and the bytes up to their end."""
    if not file.exists() or file.stat().st_size == read:
        return [], read
    with file.open("rb") as stream:
        stream.seek(read)
        text = stream.read()
    end = text.rfind(b"\n") + 1
    return text[:end].decode(errors="replace").splitlines(), read + end


def value(line: str, key: str) -> Any:
    """A value of a line of JSON; None where there is none."""
    try:
        return json.loads(line).get(key)
    except (ValueError, AttributeError):
        return None
