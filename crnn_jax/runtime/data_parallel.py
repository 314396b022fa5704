"""One batch on several devices: each takes an equal part of it, and all hold the same state.

The gradient of a batch is the sum of what its parts say of it (synchronous data parallelism, as
in Goyal et al. 2017). Dropout and augmentation draw from a stream for each device, so that a run
is a function of its seed and of the number of devices. With one device the key is unchanged.

XLA's CPU client lets 32 programs of a device be in flight. A program of several devices that is
launched beyond that waits in a thread that the programs before it need, and none of them ever
ends (jaxlib 0.10: XLA aborts after 40 s in an all-reduce that a device did not join). So the host
must not run ahead: the loop in train.py waits for the call before the one that it just sent, and
a batch of a stream is drawn, by a dozen programs and more, before the step that takes it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from crnn_jax.runtime import cpu_devices

_AXIS = "batch"


class Devices(NamedTuple):
    """Those that a batch is split over."""

    mesh: Mesh | None  # None: one, which is jax' default

    def replicate(self, tree: Any) -> Any:
        """The arrays, whole on each of them."""
        place = NamedSharding(self.mesh, PartitionSpec()) if self.mesh else None
        return jax.device_put(tree, place)

    def shard_batch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function on each device: its last two arguments cut in parts, the others whole.

        Its results are taken to be the same on each device.
        """
        if self.mesh is None:
            return function
        whole, part = PartitionSpec(), PartitionSpec(_AXIS)

        def call(*arguments: Any) -> Any:
            specs = (whole,) * (len(arguments) - 2) + (part, part)
            # That sums over the devices are the same on each, jax need not check.
            return jax.shard_map(
                function, mesh=self.mesh, in_specs=specs, out_specs=whole, check_vma=False
            )(*arguments)

        return call

    def psum(self, tree: Any) -> Any:
        """In a split function: the sum over the devices."""
        return jax.lax.psum(tree, _AXIS) if self.mesh else tree

    def per_device_key(self, key: jax.Array) -> jax.Array:
        """In a split function: a key for each device."""
        return jax.random.fold_in(key, jax.lax.axis_index(_AXIS)) if self.mesh else key


ONE = Devices(None)


def for_batches(batch_size: int) -> Devices:
    """As many as a batch is well split over, of those that jax has."""
    devices = jax.local_devices()
    count = cpu_devices.parts(batch_size, len(devices))
    return Devices(Mesh(np.array(devices[:count]), (_AXIS,))) if count > 1 else ONE


def one(tree: Any) -> Any:
    """The arrays as the first device holds them; nothing is copied."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)
