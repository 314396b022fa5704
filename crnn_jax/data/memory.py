"""How much memory images may take."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from crnn_jax.config import DataConfig
from crnn_jax.errors import DataError

_CGROUP = Path("/sys/fs/cgroup")  # limits of a container


def limit(config: DataConfig) -> int:
    """Returns how many bytes images may take: data.memory_limit, or a part of the free memory.

    That part leaves room for a copy on each device of the CPU, and for as much again.
    """
    return int(config.memory_limit * 2**30) or available() // (2 + _num_devices())


def _num_devices() -> int:
    """Returns the number of CPU devices; 1 if an accelerator computes."""
    jax = sys.modules.get("jax")  # commands that train have imported it
    if jax is None or jax.default_backend() != "cpu":
        return 1
    return int(jax.local_device_count())


def needed(config: DataConfig, count: int) -> int:
    """Returns the number of bytes of `count` images at the size of a config."""
    return math.prod((count, config.width, config.height, config.channels))


def check(config: DataConfig, count: int, what: str, advice: str) -> None:
    """Checks that `count` images fit into the memory.

    Args:
      config: the data section.
      count: the number of images, at the size of the config.
      what: names the images in the error.
      advice: what to do if they do not fit.

    Raises:
      DataError: they need more than data.memory_limit.
    """
    size, most = needed(config, count), limit(config)
    if size > most:
        raise DataError(
            f"{what} need {size / 2**30:.1f} GiB of memory, and {most / 2**30:.1f} GiB may be used "
            f"(data.memory_limit); {advice}"
        )


def available() -> int:
    """Returns the number of bytes that this process can still use, by the system or a container."""
    try:
        lines = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if line
        )
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:
        most = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text()) - _cached()
        free = min(free, most - used)
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return max(free, 0)


def _cached() -> int:
    """Returns the bytes of the file cache, which the system frees when memory is needed."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    sizes = {key: int(value) for key, value in map(str.split, lines)}
    return sizes.get("active_file", 0) + sizes.get("inactive_file", 0)
