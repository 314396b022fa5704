"""Random numbers of one image, assigned in the order of the calls."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


class Draws:
    """Uniform numbers from one key, each used once. Tracing fixes which call gets which number."""

    def __init__(self, key: jax.Array, count: int):
        self._values = jax.random.uniform(key, (count,))
        self._used = 0

    def unit(self, count: int | None = None) -> jax.Array:
        """Uniform in [0, 1): a scalar, or [count]. ValueError: all numbers are used."""
        start, self._used = self._used, self._used + (count or 1)
        if self._used > len(self._values):
            raise ValueError(f"{self._used} numbers are drawn and {len(self._values)} are there")
        values = self._values[start : self._used]
        return values[0] if count is None else values

    def between(
        self, low: float | jax.Array, high: float | jax.Array, count: int | None = None
    ) -> jax.Array:
        """Uniform in [low, high): a scalar, or [count]."""
        return low + (high - low) * self.unit(count)

    def around(self, most: float | jax.Array, count: int | None = None) -> jax.Array:
        """Uniform from -most to most."""
        return most * (2 * self.unit(count) - 1)

    def chance(self, probability: float, count: int | None = None) -> jax.Array:
        """True with the given probability."""
        return self.unit(count) < probability

    def whole(self, end: int | jax.Array, count: int | None = None) -> jax.Array:
        """Uniform i32 from 0 to end - 1."""
        return jnp.minimum((self.unit(count) * end).astype(jnp.int32), end - 1)

    def pick(self, weights: Sequence[float], count: int | None = None) -> jax.Array:
        """Returns an i32 index into `weights`, with these odds."""
        ends = jnp.cumsum(jnp.asarray(weights) / sum(weights))[:-1]
        numbers = self.unit(count)
        ends = ends.reshape((1,) * numbers.ndim + (-1,))
        return jnp.sum(numbers[..., None] >= ends, axis=-1).astype(jnp.int32)
