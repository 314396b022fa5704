"""Jitted programs that take turns: compiled in parallel, then timed on a quiet device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

MOST_CALLS = 1000


class Turn(NamedTuple):
    """A program and how to call it."""

    lowered: jax.stages.Lowered
    call: Callable[[Any], Any]  # runs the compiled program once, asynchronously
    updates: int  # per call; the time is divided by it


class Compiled(NamedTuple):
    run: Callable[[], Any]
    updates: int
    seconds: float  # to compile it


def compile_all(turns: Mapping[str, Turn]) -> dict[str, Compiled | str]:
    """Compiles programs on all cores. Returns the error message of those that cannot be compiled.

    The seconds of a program include the effect of the others that compile at the same time.
    """

    def one(turn: Turn) -> Compiled | str:
        begun = time.perf_counter()
        try:
            program = turn.lowered.compile()
        except Exception as error:  # an unsupported program does not stop the others
            return said(error)
        seconds = time.perf_counter() - begun
        return Compiled(lambda: turn.call(program), turn.updates, seconds)

    with ThreadPoolExecutor(min(12, os.cpu_count() or 1)) as pool:
        return dict(zip(turns, pool.map(one, turns.values()), strict=True))


def series(
    compiled: Mapping[str, Compiled | str], rounds: int, seconds: float
) -> dict[str, list[float] | str]:
    """Returns milliseconds per update for each round, in turns, or the message of a failure.

    Args:
      compiled: the programs.
      rounds: in each round, every program has a turn.
      seconds: approximate length of a turn; at least one call.
    """
    found: dict[str, Any] = {n: p if isinstance(p, str) else [] for n, p in compiled.items()}
    calls: dict[str, int] = {}
    for _ in range(rounds):
        for name, program in compiled.items():
            if isinstance(program, str) or isinstance(found[name], str):
                continue
            try:
                if name not in calls:
                    jax.block_until_ready(program.run())  # the first call loads the program
                    took = timed(program.run, 1)
                    calls[name] = max(1, min(MOST_CALLS, int(seconds / took)))
                jax.block_until_ready(program.run())  # not timed: first call after another's
                took = timed(program.run, calls[name])
                found[name].append(1000 * took / calls[name] / program.updates)
            except Exception as error:  # out of memory, or an unsupported operation
                found[name] = said(error)
    return found


def timed(run: Callable[[], Any], count: int) -> float:
    """Returns seconds of `count` sequential calls, until the last result is ready."""
    begun = time.perf_counter()
    for _ in range(count):
        result = run()
    jax.block_until_ready(result)
    return time.perf_counter() - begun


def said(error: Exception) -> str:
    """Formats an error as one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
