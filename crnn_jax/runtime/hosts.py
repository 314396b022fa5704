"""The processes of a run on several hosts, and the values that they exchange.

All processes execute the same program. Arrays go through XLA's collectives; the few values of the
host that decide what happens next go through the key-value store of JAX's coordination service,
which runs in process 0. So every process must make the same calls of `share` and `gather` in the
same order.

With a single process, the usual case, every function here returns at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from crnn_jax.errors import CrnnError, DeviceError, brief

JOIN_TIMEOUT = 300  # seconds until all processes must have started
_SLICE = 60_000  # milliseconds of one call that waits
_TIMEOUT = 3600  # seconds that a process waits for the value of another
_LEAVE_TIMEOUT = 60  # seconds that a process waits at the end until the others have ended, too
_HEARTBEAT = 600  # seconds; peers.py is faster and says which process is missing


class Address(NamedTuple):
    """How the processes find each other. Empty fields are detected: see `join`."""

    coordinator: str = ""  # host:port of process 0
    size: int | None = None  # number of processes
    process: int | None = None  # number of this one, from 0


class _Group:
    """The processes of this run; one alone until `join`."""

    index = 0
    count = 1
    client: Any = None  # client of JAX's coordination service
    names: tuple[str, ...] = ()  # host names, by process
    calls = 0  # calls of share and gather so far
    is_waiting = False  # waits for another process in share or gather
    oldest = 1  # the first call whose values are still stored


_group = _Group()


def join(address: Address, timeout: int = JOIN_TIMEOUT) -> None:
    """Connects this process with the other processes of the run.

    Call it before JAX computes anything. Fields of the address that are not given are detected from
    the environment of Slurm, Open MPI or Kubernetes, see `jax.distributed.initialize`. The output
    of all processes but the first is discarded.

    Raises:
      DeviceError: no cluster is detected, or the processes do not find each other.
    """
    import jax

    given = address.coordinator and address.size and address.process is not None
    # The service would add pages to the log when a process ends; the loop handles signals itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            address.coordinator or None,
            address.size,
            address.process,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_LEAVE_TIMEOUT,
            cluster_detection_method="deactivate" if given else None,
        )
    except (RuntimeError, ValueError) as error:
        raise DeviceError(_why_not_joined(error, address, timeout)) from error
    # JAX has no public interface to the store, which it keeps for Orbax and others.
    from jax._src import distributed

    state = distributed.global_state
    _group.client, _group.index, _group.count = state.client, state.process_id, state.num_processes
    _group.names = tuple(gather(socket.gethostname()))
    if _group.index:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def leave() -> None:
    """Ends the connection, when all processes have called it."""
    if _group.count > 1:
        import jax

        jax.distributed.shutdown()


def _why_not_joined(error: Exception, address: Address, timeout: int) -> str:
    message = str(error)
    if "should be defined" in message or "must be defined" in message:
        return (
            "--distributed: neither Slurm, Open MPI nor Kubernetes is detected here; give each "
            "process --coordinator=HOST:PORT, --processes=N and --process=I"
        )
    if "DEADLINE" in message or "timed out" in message.lower() or "timeout" in message.lower():
        where = f" at {address.coordinator}" if address.coordinator else ""
        return (
            f"the processes of the run did not find each other{where} within {timeout} s; check "
            "that all of them have started, with the same --coordinator and --processes"
        )
    return f"the processes of the run cannot connect: {brief(message)}"


def count() -> int:
    """The number of processes of the run."""
    return _group.count


def index() -> int:
    """The number of this process, from 0."""
    return _group.index


def is_first() -> bool:
    """Whether this process writes the run directory and the log."""
    return _group.index == 0


def name(process: int) -> str:
    """Returns 'process 1 of 4 (HOST)', counted from 0."""
    host = _group.names[process] if process < len(_group.names) else "unknown host"
    return f"process {process} of {_group.count} ({host})"


def is_waiting() -> bool:
    """Whether this process waits for another one in `share` or `gather`."""
    return _group.is_waiting


def share(value: Any) -> Any:
    """Returns the value of the first process, on every process. The value must be JSON."""
    if _group.count == 1:
        return value
    key = _next_key()
    if is_first():
        put(key, json.dumps(value))
        return value
    return json.loads(_wait_for(key))


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in order, on every process. They must be JSON.

    No process returns before all have called, so it is a barrier, too.
    """
    if _group.count == 1:
        return [value]
    key = _next_key()
    if not is_first():
        put(f"{key}/{_group.index}", json.dumps(value))
        return list(json.loads(_wait_for(key)))
    others = [json.loads(_wait_for(f"{key}/{i}", i)) for i in range(1, _group.count)]
    values = [value, *others]
    put(key, json.dumps(values))
    # All have called, so all have read the values of earlier calls.
    for call in range(_group.oldest, _group.calls):
        _group.client.key_value_delete(f"crnn/{call}")
    _group.oldest = _group.calls
    return values


def barrier() -> None:
    """Returns when all processes have called it."""
    gather(None)


def agree(values: Mapping[str, Any], remedy: str) -> None:
    """Checks that values are the same on all processes.

    Raises:
      CrnnError: a process has another value; the message names the value and the process.
    """
    all_values = gather(dict(values))
    for process, others in enumerate(all_values):
        for what, first in all_values[0].items():
            if (other := others.get(what)) != first:
                raise CrnnError(
                    f"{what}: {brief(other)} on {name(process)}, but {brief(first)} on {name(0)}; "
                    f"{remedy}"
                )


def put(key: str, value: str) -> None:
    """Stores a value for the other processes; a later value replaces it."""
    _group.client.key_value_set(key, value, allow_overwrite=True)


def entries(folder: str) -> dict[str, str]:
    """Returns the values that all processes have stored under `folder`, by key."""
    return dict(_group.client.key_value_dir_get(folder))


def _next_key() -> str:
    _group.calls += 1
    return f"crnn/{_group.calls}"


def _wait_for(key: str, process: int = 0) -> str:
    """Waits for a value of another process. If that one is gone, peers.py ends this one."""
    _group.is_waiting = True
    try:
        for _ in range(_TIMEOUT * 1000 // _SLICE):
            try:
                return str(_group.client.blocking_key_value_get(key, _SLICE))
            except Exception as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise DeviceError(
                        f"the connection to {name(0)} was lost: {brief(error, 100)}"
                    ) from error
    finally:
        _group.is_waiting = False
    raise DeviceError(f"{name(process)} did not answer within {_TIMEOUT} s")
