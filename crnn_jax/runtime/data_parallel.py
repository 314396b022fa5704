"""Data parallelism: each device takes an equal shard of a batch, and all hold the same state.

The gradient of a batch is the sum of the gradients of its shards (synchronous data parallelism, as
in Goyal et al. 2017). The devices may be those of several processes: see hosts.py. Dropout and
augmentation are drawn for an example by its position in the batch, so the number of devices changes
a run only by the rounding of sums.

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
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from crnn_jax.errors import ConfigError
from crnn_jax.runtime import cpu_devices

_AXIS = "batch"


class Devices(NamedTuple):
    """The devices that a batch is split over."""

    mesh: Mesh | None  # None for one device, the default of jax

    def replicate(self, tree: Any) -> Any:
        """Copies the arrays to each device. All processes must have equal arrays."""
        place = NamedSharding(self.mesh, PartitionSpec()) if self.mesh else None
        if place is None or place.is_fully_addressable:
            return jax.device_put(tree, place)
        return jax.tree.map(lambda leaf: _global(leaf, place), tree)

    def names(self) -> list[str]:
        """Returns platform and kind of each device."""
        devices = self.mesh.devices.flat if self.mesh else jax.devices()[:1]
        return [f"{device.platform} {device.device_kind}" for device in devices]

    def own_part(self, rows: np.ndarray) -> np.ndarray:
        """Returns the part [S, B / processes] of a batch [S, B] that this process provides."""
        size = rows.shape[1] // jax.process_count()
        first = jax.process_index() * size
        return rows[:, first : first + size]

    def shard(self, tree: Any) -> Any:
        """Splits arrays [S, B, ...] over the devices by B; each process has its own part of B."""
        if self.mesh is None:
            return tree
        place = NamedSharding(self.mesh, PartitionSpec(None, _AXIS))
        if place.is_fully_addressable:
            return jax.device_put(tree, place)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(place, np.asarray(x)), tree
        )

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
        if self.mesh is None:
            return tree
        if not self.mesh.is_multi_process:
            return jax.lax.psum(tree, _AXIS)
        # One message instead of one for each array, since each waits for the network.
        flat, unravel = ravel_pytree(tree)
        return unravel(jax.lax.psum(flat, _AXIS))


SINGLE_DEVICE = Devices(None)


def for_batches(batch_size: int) -> Devices:
    """Returns the devices of all processes over which a batch of this size should be split.

    Raises:
      ConfigError: the batch cannot be split into equal parts for the processes.
    """
    if batch_size % jax.process_count():
        raise ConfigError(
            f"train.batch_size={batch_size} is not a multiple of {jax.process_count()}, the number "
            "of processes of this run"
        )
    by_process: dict[int, list[Any]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    fewest = min(map(len, by_process.values()))
    count = cpu_devices.parts(batch_size // len(by_process), fewest)
    chosen = [device for index in sorted(by_process) for device in by_process[index][:count]]
    return Devices(Mesh(np.array(chosen), (_AXIS,))) if len(chosen) > 1 else SINGLE_DEVICE


def _global(leaf: Any, place: NamedSharding) -> jax.Array:
    """Returns an array that all processes have, as one array on the devices of all processes.

    `jax.device_put` would first compare the values of all processes.
    """
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _global(jax.random.key_data(leaf), place)
        keys: jax.Array = jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return keys
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, place, lambda index: values[index])


def first_shard(tree: Any) -> Any:
    """Returns the arrays on the first device of this process, without a copy."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)
