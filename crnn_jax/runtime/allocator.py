"""Settings of the C library's allocator, for processes that train.

A training step on a CPU frees and allocates over 100 MB of temporaries. By default glibc returns
this memory to the system each time, and it is faulted in again, page by page. Keeping it in the
process costs memory and saves time: see the rows "kept" and "with default settings" of the training
step in docs/results/speed.md.
"""

from __future__ import annotations

import contextlib
import ctypes

# The parameter numbers of glibc's <malloc.h>.
_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: no allocation gets its own mapping, which free would unmap
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: no memory is returned before 2 GiB are free
)
_ARENA_MAX = -8  # M_ARENA_MAX: number of heaps; threads that share a heap reuse each other's memory


def keep_memory(heaps: int = 1) -> bool:
    """Tells glibc to keep freed memory. Returns False and changes nothing with another C library.

    Threads that allocate at the same time from one heap wait for each other. One heap for each
    device of cpu_devices.py made a step on two devices a tenth faster. Call this at the start of a
    program, before its first large allocation; the setting cannot be undone.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has a mallopt that does nothing)
        mallopt = libc.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = (*_SETTINGS, (_ARENA_MAX, heaps))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def return_memory() -> None:
    """Returns free memory to the system, also after `keep_memory`."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
