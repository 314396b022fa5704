"""The random numbers of a generated picture, by name."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from crnn_jax.style import Range, Style

# One row of numbers each, so that what one feature draws does not depend on which others are on.
_NAMES = (
    "length", "text", "face", "size", "weight", "softness", "left", "baseline", "spacing",
    "stretch", "jitter", "turn", "shear", "wave_x", "wave_x_length", "wave_x_phase", "wave_y",
    "wave_y_length", "wave_y_phase", "water", "water_length", "water_phase", "water_radius",
    "water_at_x", "water_at_y", "curves", "curve_y", "ink", "curve_ink", "paper", "paper_end",
    "dots", "blur", "noise", "dot_grain", "grain",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Draws:
    """The random numbers of one picture, by name."""

    values: jax.Array  # f32 [names, n], from 0 to 1

    def even(self, name: str, limits: Range, count: int = 1) -> jax.Array:
        """Of one picture: [count] numbers, evenly from a range."""
        low, high = limits
        return low + (high - low) * self.values[_NAMES.index(name), :count]

    def scalar(self, name: str, style: Style) -> jax.Array:
        """Of the draws of B pictures: one from the range that the style has under this name,
        [B, 1, 1]."""
        low, high = getattr(style, name)
        return low + (high - low) * self.values[:, _NAMES.index(name), :1, None]

    def whole(self, name: str, limits: tuple[int, int], count: int = 1) -> jax.Array:
        """[count] whole numbers from limits[0] to limits[1], both included."""
        low, high = limits
        numbers = jnp.floor(self.even(name, (low, high + 1), count)).astype(jnp.int32)
        return jnp.minimum(numbers, high)  # rounding can reach the end


jax.tree_util.register_dataclass(Draws, ("values",), ())


def draws(key: jax.Array, style: Style) -> Draws:
    most = max(3 * style.length[1], 4 * style.curves[1])
    return Draws(jax.random.uniform(key, (len(_NAMES), most)))
