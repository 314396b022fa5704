"""The cores of a processor as devices of jax, so that a batch is split over them.

XLA runs one program on several cores by splitting each of its small operations, and waits for all
cores after each operation. So a training step gains little from a second core. With one device per
core, each device computes its shard of the batch alone and waits only once, for the gradients
(data_parallel.py).
"""

from __future__ import annotations

import os
import re

# Eight images of experiments/fast.py take longer on two devices than on one.
FEWEST = 8  # images per device


def use(batch_size: int) -> int:
    """Makes jax use the CPU as several devices. Returns the number of devices in effect.

    The number is the largest with which a step on a batch of this size is faster.

    Call before jax is imported. JAX_NUM_CPU_DEVICES or XLA's flag for the number of devices takes
    precedence; 1 turns the split off.
    """
    count = parts(batch_size, available())
    flag = re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if flag:
        return int(flag[1])
    return int(os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(count)))


def parts(batch_size: int, devices: int) -> int:
    """Returns the number of equal shards of a batch: at most `devices`, each of FEWEST or more."""
    most = max(1, min(devices, batch_size // FEWEST))
    return next(n for n in range(most, 0, -1) if batch_size % n == 0)


def available() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
