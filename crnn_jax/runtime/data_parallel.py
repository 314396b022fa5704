"""Data parallelism: each device takes an equal shard of a batch, and all hold the same state.

The gradient of a batch is the sum of the gradients of its shards (synchronous data parallelism, as
in Goyal et al. 2017). Dropout and augmentation are drawn for an example by its position in the
batch, so the number of devices changes a run only by the rounding of sums.

XLA's CPU client allows 32 programs in flight on each device. If a program of several devices is
launched beyond that limit, the launch blocks and no program ever ends (jaxlib 0.10: XLA aborts
after 40 s in an all-reduce that one device did not join). So the host must not run ahead. The loop
in train.py dispatches one call and waits for the previous one. A batch of a stream takes a dozen
programs or more, so it is finished before its step is dispatched.
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
    """The devices that a batch is split over."""

    mesh: Mesh | None  # None for one device, the default of jax

    def replicate(self, tree: Any) -> Any:
        """Copies the arrays to each device."""
        place = NamedSharding(self.mesh, PartitionSpec()) if self.mesh else None
        return jax.device_put(tree, place)

    def shard_batch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that runs `function` on each device.

        Each device gets a shard of the last argument and the other arguments whole. The results
        must be the same on each device.
        """
        if self.mesh is None:
            return function
        whole, part = PartitionSpec(), PartitionSpec(_AXIS)

        def call(*arguments: Any) -> Any:
            specs = (whole,) * (len(arguments) - 1) + (part,)
            # Sums over the devices are the same on each device; jax need not check that.
            return jax.shard_map(
                function, mesh=self.mesh, in_specs=specs, out_specs=whole, check_vma=False
            )(*arguments)

        return call

    def psum(self, tree: Any) -> Any:
        """Returns the sum over the devices. Call it in a sharded function."""
        return jax.lax.psum(tree, _AXIS) if self.mesh else tree


ONE = Devices(None)


def for_batches(batch_size: int) -> Devices:
    """Returns the devices of jax over which a batch of this size should be split."""
    devices = jax.local_devices()
    count = cpu_devices.parts(batch_size, len(devices))
    return Devices(Mesh(np.array(devices[:count]), (_AXIS,))) if count > 1 else ONE


def one(tree: Any) -> Any:
    """Returns the arrays on the first device, without a copy."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)
