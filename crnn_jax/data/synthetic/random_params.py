"""The random numbers of a generated image, by name."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.synthetic.style import Style

# Each name has its own row of numbers, so that turning one feature on changes no other draws. The
# rows are as long as the longest text or the most curves need; their length affects all draws.
_NAMES = (
    "length", "text", "face", "size", "weight", "softness", "left", "baseline", "spacing",
    "stretch", "jitter", "turn", "shear", "wave_x", "wave_x_length", "wave_x_phase", "wave_y",
    "wave_y_length", "wave_y_phase", "water", "water_length", "water_phase", "water_radius",
    "water_at_x", "water_at_y", "curves", "curve_y", "ink", "curve_ink", "paper", "paper_end",
    "dots", "blur", "noise", "dot_grain", "grain",
)  # fmt: skip


# These names have no range of their own and are drawn from [0, 1).
_UNIT = frozenset({"curve_y", "dot_grain", "grain", "text", "face", "length", "curves"})


@dataclasses.dataclass(frozen=True)
class NamedDraws:
    """The random numbers of one image, or of B images, by name."""

    values: jax.Array  # f32 [names, n], each in the range that the style has for its name

    def even(self, name: str, count: int = 1) -> jax.Array:
        """Returns [count] uniform numbers of one image, in the range of that name."""
        return self.values[_NAMES.index(name), :count]

    def whole(self, name: str, limits: tuple[int, int], count: int = 1) -> jax.Array:
        """Returns [count] integers of one image, from limits[0] to limits[1], both included."""
        low, high = limits
        numbers = low + jnp.floor((high + 1 - low) * self.even(name, count)).astype(jnp.int32)
        return jnp.minimum(numbers, high)  # rounding can reach the end

    def scalar(self, name: str) -> jax.Array:
        """Returns one number for each of B images, [B, 1, 1]."""
        return self.values[:, _NAMES.index(name), :1, None]


jax.tree_util.register_dataclass(NamedDraws, ("values",), ())


def draws(key: jax.Array, ranges: jax.Array, style: Style) -> NamedDraws:
    """Draws the numbers of one image. `ranges` is traced, so strengths cause no compilation."""
    most = max(3 * style.length[1], 4 * style.curves[1])
    low, high = ranges[:, :1], ranges[:, 1:]
    return NamedDraws(low + (high - low) * jax.random.uniform(key, (len(_NAMES), most)))


def ranges_of(style: Style) -> np.ndarray:
    """Returns the range of each name, f32 [names, 2]; names without a range get [0, 1)."""
    return np.array([(0, 1) if n in _UNIT else getattr(style, n) for n in _NAMES], np.float32)
