"""The random numbers of a generated image, by name."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic.style import Style

# One row of numbers each, so that what one feature draws does not depend on which others are on.
_NAMES = (
    "length", "text", "face", "size", "weight", "softness", "left", "baseline", "spacing",
    "stretch", "jitter", "turn", "shear", "wave_x", "wave_x_length", "wave_x_phase", "wave_y",
    "wave_y_length", "wave_y_phase", "water", "water_length", "water_phase", "water_radius",
    "water_at_x", "water_at_y", "curves", "curve_y", "ink", "curve_ink", "paper", "paper_end",
    "dots", "blur", "noise", "dot_grain", "grain",
)  # fmt: skip


# What is drawn without a range of its own: a place in the range is what is wanted.
_UNIT = frozenset({"curve_y", "dot_grain", "grain", "text", "face", "length", "curves"})


@dataclasses.dataclass(frozen=True)
class Draws:
    """The random numbers of one image, by name, or of B of them."""

    values: jax.Array  # f32 [names, n], each in the range that the style has under its name

    def even(self, name: str, count: int = 1) -> jax.Array:
        """Of one image: [count] numbers, evenly from the range of that name."""
        return self.values[_NAMES.index(name), :count]

    def whole(self, name: str, limits: tuple[int, int], count: int = 1) -> jax.Array:
        """Of one image: [count] whole numbers from limits[0] to limits[1], both included."""
        low, high = limits
        numbers = low + jnp.floor((high + 1 - low) * self.even(name, count)).astype(jnp.int32)
        return jnp.minimum(numbers, high)  # rounding can reach the end

    def scalar(self, name: str) -> jax.Array:
        """Of B images: one number each, [B, 1, 1]."""
        return self.values[:, _NAMES.index(name), :1, None]


jax.tree_util.register_dataclass(Draws, ("values",), ())


def draws(key: jax.Array, ranges: jax.Array, style: Style) -> Draws:
    """Of one image; `ranges` is `ranges_of(style)`, so that strengths do not make programs."""
    most = max(3 * style.length[1], 4 * style.curves[1])
    low, high = ranges[:, :1], ranges[:, 1:]
    return Draws(low + (high - low) * jax.random.uniform(key, (len(_NAMES), most)))


def ranges_of(style: Style) -> np.ndarray:
    """f32 [names, 2]: the range of each name, from 0 to 1 for what has none."""
    return np.array([(0, 1) if n in _UNIT else getattr(style, n) for n in _NAMES], np.float32)
