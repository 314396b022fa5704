"""Settings of the C library's allocator, for processes that train.

A training step on a CPU frees and allocates over 100 MB of temporaries. glibc hands them back
to the system each time and has them faulted in again, page by page. Kept in the process they cost
its memory and save time: rows "kept" and "as it comes" of the README's table of steps.
"""

from __future__ import annotations

import ctypes

# The parameter numbers of glibc's <malloc.h>.
_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: no allocation of its own mapping, which free would unmap
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: nothing goes back before 2 GiB are free
)
_ARENA_MAX = -8  # M_ARENA_MAX: heaps that threads share, so that what one frees another finds


def keep_memory(heaps: int = 1) -> bool:
    """Tells glibc to keep freed memory. False, and nothing changed, under another C library.

    With one heap threads that allocate at the same time wait for each other: a heap for each
    device of cpu_devices.py took a tenth off a step on two. For the start of a program, before its
    first large allocation; it holds for the process.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has a mallopt that does nothing)
        mallopt = libc.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = (*_SETTINGS, (_ARENA_MAX, heaps))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
