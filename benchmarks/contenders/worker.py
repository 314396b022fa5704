"""The part of a contest that runs in the process of a contender. It reads one command per line.

Uses only the standard library and numpy, which every contender's environment has. `contest.py` is
the other part.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CHECKED = 4  # number of images whose logits are compared


@dataclasses.dataclass(frozen=True)
class Job:
    """A task, the same for all contenders."""

    work: str  # 'train' or 'read'
    batch: int  # B
    threads: int
    scale: float  # of the model's widths
    variant: str  # of the contender, '' for the plain one
    arrays: str  # npz: images u8 [N, W, H, C], labels i32 [N, L], and parameters by name
    config: dict[str, Any]  # of this package; others ignore it
    onnx: str = ""  # the exported model, for onnxruntime

    def load(self) -> dict[str, np.ndarray]:
        with np.load(self.arrays) as stored:
            return dict(stored)

    def widths(self) -> tuple[tuple[int, int], int, tuple[int, int]]:
        """Widths of convolutions, dense layer and LSTMs."""
        c, d, u = (32, 64), 64, (128, 64)
        s = self.scale
        return (int(s * c[0]), int(s * c[1])), int(s * d), (int(s * u[0]), int(s * u[1]))

    def batches(self, count: int, images: int) -> list[np.ndarray]:
        """Yields the indices i64 [B] of `count` batches."""
        rng = np.random.default_rng(0)
        return [rng.permutation(images)[: self.batch] for _ in range(count)]


@dataclasses.dataclass(frozen=True)
class Work:
    """A contender that is ready to run."""

    turn: Callable[[int, int], float]  # (untimed, timed calls) -> seconds of the timed ones
    parameters: int
    packages: tuple[str, ...]  # whose versions are recorded
    logits: np.ndarray | None = None  # of the first CHECKED images
    loss: float | None = None  # mean CTC loss of the first B images, without dropout


def timed(call: Callable[[], Any], wait: Callable[[Any], Any] = lambda result: result) -> Any:
    """Returns a `turn` of sequential calls; `wait` blocks until the result of a call is ready."""

    def turn(untimed: int, count: int) -> float:
        for _ in range(untimed):
            wait(call())
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        wait(result)
        return time.perf_counter() - start

    return turn


def give_back_memory() -> None:
    """Returns free memory to the system, so that waiting contenders leave room for others."""
    with contextlib.suppress(OSError, AttributeError):  # with another C library
        ctypes.CDLL(None).malloc_trim(0)


def end_with_parent() -> None:
    """Makes the system kill this process with its parent (Linux), even if it is frozen."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of <sys/prctl.h>


def serve(prepare: Callable[[Job], Work]) -> None:
    """Prepares the contender, reports it, and answers commands until the input ends."""
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print to stdout
    job = Job(**json.loads(sys.argv[1]))

    def say(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    start = time.perf_counter()
    work = prepare(job)
    work.turn(1, 1)
    ready = time.perf_counter() - start
    give_back_memory()
    say(
        ready=ready,
        parameters=work.parameters,
        versions={name: importlib.metadata.version(name) for name in work.packages},
        logits=None if work.logits is None else np.asarray(work.logits, float).tolist(),
        loss=None if work.loss is None else float(work.loss),
    )
    for line in sys.stdin:
        order = json.loads(line)
        seconds = work.turn(order["untimed"], order["count"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        give_back_memory()
        say(seconds=seconds, peak_mib=peak / 1024)
    # Frameworks with their own threads exit slowly, and sometimes never.
    answers.flush()
    os._exit(0)
