"""Standard streams and the end of the command-line programs, for run.py and `python -m crnn_jax`.

A stream may be closed, a terminal may not show all characters, and a reader such as `head` may go
away. None of these prints a traceback or stops training.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from crnn_jax import errors
from crnn_jax.errors import CrnnError
from crnn_jax.runtime import limits, processes, signals

_TIMEOUT = 10.0  # seconds from the end of a command until its process is ended
_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_closed: set[str] = set()  # streams that were closed when the process started


def prepare() -> None:
    """Makes the standard streams usable, even if they are closed or not UTF-8.

    A closed stream becomes the null device. Characters that the terminal cannot show are written
    as escapes; file names that are not UTF-8 are read and written unchanged. An error of writing to
    the standard output names the standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # the descriptor stays open, or the next file would get it
            null = os.open(os.devnull, os.O_RDWR)
            stream = open(null, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            _closed.add(name)
        if hasattr(stream, "reconfigure"):
            is_utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            if name != "stderr":
                escapes = "surrogateescape" if is_utf8 or name == "stdin" else "backslashreplace"
                stream.reconfigure(errors=escapes)
    _replace("stdout", _Named)
    _replace("stderr", lambda descriptor: _Lasting(descriptor, keep_silent=True))


def need_output() -> None:
    """Checks the standard output, for commands whose only result is printed.

    Raises:
      CrnnError: the standard output is closed.
    """
    if "stdout" in _closed:
        raise CrnnError("standard output is closed, but this command prints its result there")


def need_input() -> None:
    """Checks the standard input, for commands that read a list from it.

    Raises:
      CrnnError: the standard input is closed.
    """
    if "stdin" in _closed:
        raise CrnnError(
            "standard input is closed, but the argument - reads a list of paths from it"
        )


def outlive_output() -> None:
    """From now on, output errors do not stop the program. For commands that train.

    If the reader of the output went away, a note is printed to the standard error. `conclude`
    reports other errors when the work is done.
    """
    _replace("stdout", lambda descriptor: _Lasting(descriptor, keep_silent=False))


def conclude(call: Callable[[], Any], failure: int) -> int:
    """Calls a command and returns the status of the process.

    Errors meant for the user are printed in one line.

    Args:
      call: returns a status, or None for 0.
      failure: the status after an error.
    """
    try:
        limits.raise_open_files()
        limits.check_threads()
        status = _status(call)
        sys.stdout.flush()
        raw = _raw("stdout")
        if isinstance(raw, _Lasting) and raw.error and raw.error.errno != errno.EPIPE:
            raise raw.error
        return status
    except signals.Interrupted as error:
        _say(str(error))
        signals.exit_by_signal(error)
        return 1
    except CrnnError as error:
        _say(f"error: {processes.device_problem_of(error) or error}")
    except KeyboardInterrupt:  # no cleanup is needed: files are written atomically
        signals.exit_by_signal(signals.Interrupted("", signal.SIGINT))
        return 1
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _abandon_output()
        return 1
    except MemoryError:
        _say("error: out of memory")
    except OSError as error:
        if error.filename == errors.STANDARD_OUTPUT:
            _abandon_output()
        if error.errno in _RESOURCES and error.filename is None:
            _say(f"error: {error.strerror}")
        else:
            _say(f"error: {errors.system_error_message(error)}")
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, RuntimeError) and limits.is_of_threads(error):
            _say(f"error: {limits.NO_THREADS}")
        elif reason := processes.device_problem_of(error):
            _say(f"error: {reason}")
        elif str(error).startswith("RESOURCE_EXHAUSTED"):  # raised by XLA
            _say(f"error: out of memory ({errors.brief(str(error).splitlines()[0], 200)})")
        else:
            raise
    return failure


def _status(call: Callable[[], Any]) -> int:
    try:
        return call() or 0
    except SystemExit as error:  # absl ends this way
        if isinstance(error.code, str):
            _say(error.code)
            return 1
        return error.code or 0


def leave(status: int) -> NoReturn:
    """Ends the process within seconds, even if threads of a library are still waiting.

    After an error Orbax may leave threads that wait for each other for minutes. They are not
    daemon threads, so Python would wait for them.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        _abandon_output()
    guard = threading.Timer(_TIMEOUT, os._exit, [status])
    guard.daemon = True
    with contextlib.suppress(RuntimeError):  # no more threads can be started
        guard.start()
    sys.exit(status)


class _Named(io.FileIO):
    """The standard output. Its errors have a file name, unlike errors of other descriptors."""

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "wb", closefd=False)

    # typeshed declares a parameter of a private type, and a result that is never None.
    def write(self, content: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(content)
        except OSError as error:
            error.filename = errors.STANDARD_OUTPUT
            raise


class _Lasting(_Named):
    """A standard stream that discards output after the first error."""

    error: OSError | None = None

    def __init__(self, descriptor: int, keep_silent: bool):
        super().__init__(descriptor)
        self._keep_silent = keep_silent

    def write(self, content: Any) -> int:
        if self.error is None:
            try:
                return super().write(content) or 0
            except OSError as error:
                self.error = error
                if not self._keep_silent and error.errno == errno.EPIPE:
                    _say("note: standard output was closed by its reader; the run continues")
        return len(content)


def _replace(name: str, make: Callable[[int], io.FileIO]) -> None:
    """Replaces the raw stream of a standard stream, unless a test has replaced the stream."""
    stream, raw = getattr(sys, name), _raw(name)
    if type(raw) not in (io.FileIO, _Named) or raw.fileno() not in (1, 2):
        return
    stream.flush()
    is_buffered = stream.buffer is not raw
    made: Any = make(raw.fileno())
    setattr(
        sys,
        name,
        io.TextIOWrapper(
            io.BufferedWriter(made) if is_buffered else made,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through or name == "stderr",
        ),
    )


def _raw(name: str) -> Any:
    buffer = getattr(getattr(sys, name), "buffer", None)
    return getattr(buffer, "raw", buffer)  # with python -u there is no buffer in between


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(errors.for_terminal(text), file=sys.stderr, flush=True)


def _abandon_output() -> None:
    """Points the standard output to the null device, because Python flushes it at exit."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
