"""Checks limits on open files and threads, because jax and Orbax can abort when one is reached."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from crnn_jax.errors import CrnnError, RunError
from crnn_jax.runtime import cpu_devices

NEEDED = 64  # open files of a process that writes a checkpoint
_FREE = 40  # of these, files that the checkpoint itself uses
_WANTED = 4096
# Threads that jax 0.10 (8, and 4 per core) and Orbax start on a CPU; measured.
_THREADS, _THREADS_PER_CORE = 32, 4
NO_THREADS = (
    "this user cannot start more threads; end other processes or raise the limit, for example "
    "with `ulimit -u 4096`"
)


def raise_open_files() -> None:
    """Raises the soft limit on open files to the hard limit.

    Raises:
      CrnnError: the hard limit is too low for any command.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < _WANTED:
        most = _WANTED if hard == infinite else min(hard, _WANTED)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft != infinite and soft < NEEDED:
        raise CrnnError(
            f"this process can have {soft} files open, but it needs at least {NEEDED}; raise the "
            "limit with `ulimit -n 1024`"
        )


def check_open_files(what: str, count: int = _FREE) -> None:
    """Checks that `count` more files can be opened.

    Raises:
      RunError: they cannot be opened; the message begins with `what`.
    """
    opened: list[int] = []
    try:
        opened.append(os.open(os.devnull, os.O_RDONLY))
        while len(opened) < count:
            opened.append(os.dup(opened[0]))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return
        raise RunError(
            f"{what}: {os.strerror(error.errno)}; close files or raise the limit with "
            "`ulimit -n 1024`"
        ) from error
    finally:
        for descriptor in opened:
            os.close(descriptor)


def check_threads(count: int | None = None) -> None:
    """Checks that `count` more threads can be started.

    By default `count` is the number that jax and Orbax start. If a thread does not start, both may
    abort the process instead of raising an error.

    Raises:
      CrnnError: the threads cannot be started.
    """
    end, started = threading.Event(), []
    try:
        for _ in range(count or _THREADS + _THREADS_PER_CORE * cpu_devices.available()):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        if not is_of_threads(error):
            raise
        raise CrnnError(NO_THREADS) from error
    finally:
        end.set()
        for thread in started:
            thread.join()


def is_of_threads(error: BaseException) -> bool:
    """Whether Python or a library raised the error because a thread did not start."""
    return "can't start new thread" in str(error)
