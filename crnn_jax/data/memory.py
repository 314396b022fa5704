"""How much memory images may take."""

from __future__ import annotations

import math
import os
from pathlib import Path

from crnn_jax.config import DataConfig

_CGROUP = Path("/sys/fs/cgroup")  # limits of a container


def limit(config: DataConfig) -> int:
    """Returns how many bytes images may take: data.memory_limit, or half of the free memory."""
    return int(config.memory_limit * 2**30) or available() // 2


def needed(config: DataConfig, count: int) -> int:
    """Returns the number of bytes of `count` images at the size of a config."""
    return math.prod((count, config.width, config.height, config.channels))


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
