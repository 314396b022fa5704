"""Times whole processes, from the command to a line that they print."""

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
_LOOK_EVERY = 0.005  # seconds; the maximum error of a time


class Outcome(NamedTuple):
    seconds: float  # from the command to the line, or else to the end
    line: str | None  # None if the process ended without it
    peak_mib: float  # peak of memory


def until(
    command: Sequence[str | os.PathLike[str]],
    wanted: Callable[[str], bool],
    file: Path | None = None,
    variables: Mapping[str, str] = {},
    patience: float = 3600,
    root: Path = ROOT,
) -> Outcome:
    """Runs a command until a line of `file`, or of its output, matches; then kills it.

    The command runs in the directory `root`.

    Raises:
      RuntimeError: it failed (with the end of its output), or the line did not come in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        with output.open("wb") as stream:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        found, seconds, ended = None, 0.0, False
        read = 0  # bytes of the file already read
        try:
            while found is None and not ended and seconds < patience:
                time.sleep(_LOOK_EVERY)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                ended = pid != 0
                seconds = time.perf_counter() - start
                lines, read = _new_lines(file or output, read)
                found = next((line for line in lines if wanted(line)), None)
        finally:  # also on Ctrl-C, because the process has its own session
            if not ended:
                # Exiting normally would spend time on cleanup, which does not count.
                os.killpg(process.pid, signal.SIGKILL)
                _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0  # already waited for
        if found is None and (status or not ended):
            said = output.read_text(errors="replace")[-2000:]
            what = "failed" if ended else f"printed no such line within {patience} s"
            raise RuntimeError(f"{' '.join(map(str, command))} {what}:\n{said}")
        return Outcome(seconds, found, usage.ru_maxrss / 1024)


def _new_lines(file: Path, read: int) -> tuple[list[str], int]:
    """Returns the complete lines after the first `read` bytes, and the new number of bytes."""
    if not file.exists() or file.stat().st_size == read:
        return [], read
    with file.open("rb") as stream:
        stream.seek(read)
        text = stream.read()
    end = text.rfind(b"\n") + 1
    return text[:end].decode(errors="replace").splitlines(), read + end


def value(line: str, key: str) -> Any:
    """Returns a value of a JSON line, or None."""
    try:
        return json.loads(line).get(key)
    except (ValueError, AttributeError):
        return None
