"""Programs of jax that take turns: compiled side by side, then timed on a quiet device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

MOST_CALLS = 1000


class Turn(NamedTuple):
    """A program and how it is called."""

    lowered: jax.stages.Lowered
    call: Callable[[Any], Any]  # runs the compiled program once, without waiting for it
    updates: int  # of one call: what its time is divided by


class Compiled(NamedTuple):
    run: Callable[[], Any]
    updates: int
    seconds: float  # to compile


def compile_all(turns: Mapping[str, Turn]) -> dict[str, Compiled | str]:
    """Compiles on all cores at hand; the message of what could not be compiled.

    The seconds of a program are those beside the others.
    """

    def one(turn: Turn) -> Compiled | str:
        begun = time.perf_counter()
        try:
            program = turn.lowered.compile()
        except Exception as error:  # one that this device does not have costs one figure
            return said(error)
        seconds = time.perf_counter() - begun
        return Compiled(lambda: turn.call(program), turn.updates, seconds)

    with ThreadPoolExecutor(min(12, os.cpu_count() or 1)) as pool:
        return dict(zip(turns, pool.map(one, turns.values()), strict=True))


def series(
    compiled: Mapping[str, Compiled | str], rounds: int, seconds: float
) -> dict[str, list[float] | str]:
    """Milliseconds an update, one for each round, in turns; the message of what failed.

    Args:
      compiled: the programs.
      rounds: in each, every program has its turn.
      seconds: about how long a turn takes, at least one call.
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
                jax.block_until_ready(program.run())  # not the first after another's
                took = timed(program.run, calls[name])
                found[name].append(1000 * took / calls[name] / program.updates)
            except Exception as error:  # out of memory, or an operation that is not there
                found[name] = said(error)
    return found


def timed(run: Callable[[], Any], count: int) -> float:
    """Seconds of `count` calls, one after the other, until the last has its result."""
    begun = time.perf_counter()
    for _ in range(count):
        result = run()
    jax.block_until_ready(result)
    return time.perf_counter() - begun


def said(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
