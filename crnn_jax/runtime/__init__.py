"""The process and its devices: setup before jax is imported, files, locks, signals, terminals.

Imports no other package.
"""

from __future__ import annotations

import gc

# Objects between two searches for cycles. Imports and tracing make hundreds of thousands of objects
# that live on, and with Python's 700 the searches take a tenth of the time to the first step.
_GC_THRESHOLD = 50_000


def configure(batch_size: int = 1) -> None:
    """Sets up the process. Call it before jax is imported; it cannot be undone.

    Python searches for garbage less often, glibc keeps freed memory, and jax keeps compiled
    programs on disk. For training, jax sees the processor as several devices, so that a batch can
    be split over its cores.

    Args:
      batch_size: the training batch size; 1 for commands that do not train and use one device.
    """
    from crnn_jax.runtime import allocator, compilation_cache, cpu_devices

    gc.set_threshold(max(_GC_THRESHOLD, gc.get_threshold()[0]), *gc.get_threshold()[1:])
    allocator.keep_memory(cpu_devices.use(batch_size) if batch_size > 1 else 1)
    compilation_cache.keep_programs()
