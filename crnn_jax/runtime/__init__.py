"""The process and its devices: setup before jax is imported, files, locks, signals, terminals.

Imports no other package.
"""

from __future__ import annotations


def configure(batch_size: int = 1) -> None:
    """Sets up the process. Call it before jax is imported; it cannot be undone.

    glibc keeps freed memory and jax keeps compiled programs on disk. For training, jax sees the
    processor as several devices, so that a batch can be split over its cores.

    Args:
      batch_size: the training batch size; 1 for commands that do not train and use one device.
    """
    from crnn_jax.runtime import allocator, compilation_cache, cpu_devices

    allocator.keep_memory(cpu_devices.use(batch_size) if batch_size > 1 else 1)
    compilation_cache.keep_programs()
