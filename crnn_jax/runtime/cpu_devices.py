"""The cores of a processor as devices of jax, so that a large batch is split over them.

A device uses several cores by splitting each operation, and waits for all cores after each of them.
With several devices, each computes its shard of the batch alone and waits only once, for the
gradients (data_parallel.py). This pays for large shards only (results/speed/devices.json).
"""

from __future__ import annotations

import os
import re

from crnn_jax.runtime import native

# With convolutions in C++, shards of 8 and of 16 images gain nothing over one device, and shards of
# 32 a tenth. With those of XLA, shards of 8 images gain a quarter.
WORTHWHILE = 32  # images per device, if the user does not say how many devices there are
FEWEST = 8  # images per device, if the user does, or without the functions in C++


def use(batch_size: int) -> int:
    """Makes jax use the CPU as several devices. Returns the number of devices in effect.

    All get equally many images of a batch: at least WORTHWHILE, or FEWEST without the functions in
    C++.

    Call before jax is imported. JAX_NUM_CPU_DEVICES or XLA's flag for the number of devices takes
    precedence; 1 turns the split off.
    """
    named = os.environ.get("JAX_NUM_CPU_DEVICES")
    if named is not None:  # jax takes it before the flag
        return max(1, int(named)) if named.strip().isdecimal() else 1
    flag = re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if flag:
        return int(flag[1])
    fewest = WORTHWHILE if native.is_expected() else FEWEST
    count = parts(batch_size, available(), fewest)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(count)
    return count


def parts(batch_size: int, devices: int, fewest: int = FEWEST) -> int:
    """Returns the number of equal shards of a batch: at most `devices`, of at least `fewest`."""
    most = max(1, min(devices, batch_size // fewest))
    return next(n for n in range(most, 0, -1) if batch_size % n == 0)


def available() -> int:
    """Returns the number of cores that this process may use. A container's quota is not seen."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
