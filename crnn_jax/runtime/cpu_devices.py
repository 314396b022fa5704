"""The cores of a processor as devices of jax, so that a batch is split over them.

XLA computes one program on several cores by handing each of its small operations out, and waits
for all of them each time: a training step gains little by a second core. A device for each
core computes its part of the batch by itself, and waits once, for the gradients (data_parallel.py).
"""

from __future__ import annotations

import os

FEWEST = 8  # images a device: two devices take longer than one for eight smaller ones (fast.py)


def use(batch_size: int) -> int:
    """Makes jax use the CPU as several devices, and returns their number.

    They are as many as a batch of this size profits from.

    Call before jax is imported. JAX_NUM_CPU_DEVICES, or XLA's flag of that purpose, says
    otherwise; 1 is off.
    """
    count = parts(batch_size, available())
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(count))
    return count


def parts(batch_size: int, devices: int) -> int:
    """Into how many equal parts a batch is split: of `devices` as many as have enough to do."""
    most = max(1, min(devices, batch_size // FEWEST))
    return next(n for n in range(most, 0, -1) if batch_size % n == 0)


def available() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
