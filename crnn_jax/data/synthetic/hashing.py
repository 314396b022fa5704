"""A hash of integers for random patterns, cheaper than the cipher of jax.random."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def lowbias32(h: jax.Array) -> jax.Array:
    """Mixes the bits of u32 numbers: the multiply-and-shift mixer "lowbias32" of Wellons 2018."""
    h = (h ^ h >> 16) * jnp.uint32(0x7FEB352D)
    h = (h ^ h >> 15) * jnp.uint32(0x846CA68B)
    return h ^ h >> 16
