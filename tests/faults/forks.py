"""A server that forks a process per attempt, so that attempts need no imports.

`python -m tests.faults.forks` imports everything, starts no JAX backend and no thread, and then
forks a child for each request on its standard input. The child runs the same entry point as the
command line. `Forks` is the client; `Command` runs a real command with the same interface.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 10.0  # seconds; an attempt that exceeds its expected time by this much hangs
DUMP = 5.0  # seconds for a hanging process to write its stacks

# The import of numpy starts BLAS threads, and a fork would lose them.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
_COMMANDS = {
    "run": ["run.py"],
    "crnn_jax": ["-m", "crnn_jax"],
    "check": ["-m", "tests.faults.checkpoints"],
}


class Attempt:
    """A started process: wait for it, signal it, read its output."""

    pid: int
    name: str
    out: Path
    err: Path

    def wait(self, seconds: float) -> int | None:
        """Returns the exit status, negative for a signal; None if it still runs after `seconds`."""
        raise NotImplementedError

    def send(self, number: int) -> bool:
        """Sends a signal. False if the process has ended."""
        if self.wait(0) is not None:
            return False
        os.kill(self.pid, number)
        return True

    def finish(self, expected: float) -> int:
        """Waits until the process exits.

        Raises:
          AssertionError: it ran for `LIMIT` longer than expected; the message has its stacks.
        """
        status = self.wait(expected + LIMIT)
        if status is not None:
            return status
        self.send(signal.SIGCONT)
        self.send(signal.SIGABRT)  # faulthandler prints the stacks of all threads
        if self.wait(DUMP) is None:
            self.send(signal.SIGKILL)
            self.wait(DUMP)
        raise AssertionError(
            f"{self.name}: still running {LIMIT:.0f} s after the expected {expected:.1f} s\n"
            f"{tail(self.err, 6000)}"
        )


def tail(path: Path, count: int = 3000) -> str:
    """Returns the last characters of a file; empty if there is none."""
    with contextlib.suppress(OSError):
        return path.read_bytes()[-count:].decode(errors="replace")
    return ""


class Command(Attempt):
    """A real command in its own process."""

    def __init__(self, request: Mapping[str, Any], environment: Mapping[str, str]):
        program, arguments = request["program"], request["arguments"]
        command = [sys.executable, *_COMMANDS[program], *arguments]
        self.name = " ".join(command[1:])
        self.out, self.err = Path(request["out"]), Path(request["err"])
        more = {"JAX_NUM_CPU_DEVICES": str(request.get("devices", 1))}
        if fault := request.get("fault"):
            names = ("CALL", "PREFIX", "NTH", "ERRNO", "STICKY", "LOG")
            more |= {f"FAULTY_{n}": str(v) for n, v in zip(names, fault, strict=True)}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**environment, **more}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True,
                preexec_fn=lambda: _restrict(request),
            )  # fmt: skip
        self.pid = self._process.pid

    def wait(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(max(seconds, 0))
        return None


class Forks:
    """A server and its current child. There is one child at a time."""

    def __init__(self, environment: Mapping[str, str]):
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"], cwd=ROOT, env=dict(environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0,
        )  # fmt: skip
        self.pid = self._server.pid
        self._rest = b""
        self._answer(120)

    def close(self) -> None:
        """Ends the server and its child."""
        self._server.kill()
        self._server.communicate()

    def start(self, request: Mapping[str, Any]) -> Fork:
        """Forks a child for a request; see `_become` for its keys."""
        self._server.stdin.write((json.dumps(request) + "\n").encode())
        return Fork(self, request, self._answer(30)["pid"])

    def _answer(self, seconds: float | None) -> Any:
        """Returns the next line of the server, None if there is none in time."""
        end = time.monotonic() + (seconds or 0)
        pipe = self._server.stdout
        assert pipe is not None
        while b"\n" not in self._rest:
            left = max(0.0, end - time.monotonic())
            if not select.select([pipe], [], [], left)[0]:
                return None
            content = os.read(pipe.fileno(), 4096)
            assert content, f"the server of forks has ended with status {self._server.wait()}"
            self._rest += content
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


class Fork(Attempt):
    """A child of a server."""

    def __init__(self, forks: Forks, request: Mapping[str, Any], pid: int):
        self.pid, self._forks, self._status = pid, forks, None
        self.name = " ".join((request["program"], *request["arguments"]))
        self.out, self.err = Path(request["out"]), Path(request["err"])

    def wait(self, seconds: float) -> int | None:
        if self._status is None and (answer := self._forks._answer(seconds)):
            self._status = answer["status"]
        return self._status


def _restrict(request: Mapping[str, Any]) -> None:
    """Limits this process as requested: the core it runs on, its file descriptors."""
    if request.get("core") is not None:
        os.sched_setaffinity(0, {request["core"]})
    if count := request.get("descriptors"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def _serve() -> dict[str, Any] | None:
    """Answers requests. In a forked child it returns the request; in the server, None at the end.

    A child that has ended stays a zombie until the next request, so that its process id is not
    reused while the client may still send signals.
    """
    _write({"ready": len(os.listdir("/proc/self/task"))})
    rest, child = b"", None
    while True:
        while b"\n" not in rest:
            content = os.read(0, 65536)
            if not content:
                return None
            rest += content
        line, _, rest = rest.partition(b"\n")
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            return json.loads(line)
        _write({"pid": child})
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        is_exit = ended.si_code == os.CLD_EXITED
        _write({"status": ended.si_status if is_exit else -ended.si_status})


def _write(values: Mapping[str, Any]) -> None:
    os.write(1, (json.dumps(values) + "\n").encode())


def _become(request: Mapping[str, Any]) -> NoReturn:
    """Runs a request in this process, which exits like a command.

    Args:
      request: `program` (a key of _COMMANDS) and its `arguments`; `out` and `err`, files for the
        standard streams; and optionally `devices`, `core`, `descriptors` (a limit) and `fault`
        (the arguments of `arm` in faulty_io.c).
    """
    import faulthandler

    import jax

    os.setsid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        descriptor = os.open(path, flags if number else os.O_RDONLY, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    faulthandler.enable()
    devices = request.get("devices", 1)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
    jax.config.update("jax_num_cpu_devices", devices)
    if fault := request.get("fault"):
        import ctypes

        call, prefix, nth, number, sticky, log = fault
        arm = ctypes.CDLL(None).faulty_arm
        arm(call.encode(), prefix.encode(), nth, number, sticky, log.encode())
    from crnn_jax.runtime import terminal

    _restrict(request)
    if request["program"] == "run":
        import run

        sys.argv = ["run.py", *request["arguments"]]
        terminal.leave(run.run())
    if request["program"] == "check":
        from tests.faults import checkpoints

        sys.exit(checkpoints.main(request["arguments"]))
    from crnn_jax.cli import main as __main__

    terminal.leave(__main__.main(request["arguments"]))


def main() -> None:
    """Imports, then serves."""
    import importlib

    from tests.helpers import compiling  # noqa: F401  (before jax)

    names = "run", "crnn_jax.cli.main", "crnn_jax.inference.recognizer", "crnn_jax.runs.trackers"
    for name in (
        *names,
        "crnn_jax.training.train",
        "tests.faults.checkpoints",
    ):
        importlib.import_module(name)
    from jax._src import xla_bridge

    assert not xla_bridge._backends, "an import started a JAX backend, which a fork cannot share"
    request = None
    with contextlib.suppress(BrokenPipeError):  # the client has ended
        request = _serve()
    if request:
        _become(request)


if __name__ == "__main__":
    main()
