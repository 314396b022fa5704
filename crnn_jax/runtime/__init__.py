"""The process and its devices: setup before jax is imported, files, locks, signals, terminals.

Imports no other package.
"""

from __future__ import annotations

import gc
import os

# Objects between two garbage collections. Imports and tracing make hundreds of thousands of objects
# that stay alive, so with Python's default, 700, collecting is slow: results/structure/README.md.
_GC_THRESHOLD = 50_000


def configure(batch_size: int = 1, computes: bool = False) -> None:
    """Sets up the process. Call it before jax is imported; it cannot be undone.

    Python collects garbage less often, glibc keeps freed memory, and jax keeps compiled programs on
    disk. For training with large batches, jax sees the processor as several devices, so that a
    batch is split over its cores. The functions in C++ are compiled in the background if a model
    will be computed and they are not yet compiled.

    Args:
      batch_size: the training batch size; 1 for commands that do not train.
      computes: whether a model will be computed, even if the batch size is 1.
    """
    from crnn_jax.runtime import allocator, compilation_cache, cpu_devices, native

    objects, *others = gc.get_threshold()
    if 0 < objects < _GC_THRESHOLD:  # 0 disables collection
        gc.set_threshold(_GC_THRESHOLD, *others)
    allocator.keep_memory(cpu_devices.use(batch_size) if batch_size > 1 else 1)
    compilation_cache.keep_programs()
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if (computes or batch_size > 1) and (not platforms or "cpu" in platforms.split(",")):
        native.start()
