"""The flat start: a frame-wise loss in the first steps, with symbols in order from left to right.

With CTC alone, training first finds the best constant predictor, a plateau on which SGD can stay
for dozens of epochs. Speech recognition instead starts its models from a uniform segmentation of
the transcript (Young et al., The HTK Book, section 8.3). This module does the same. It divides each
label over the image's time steps and minimizes the frame-wise cross-entropy against this
segmentation until the model tells symbols apart. Then CTC takes over. The segmentation is wrong in
detail, but good enough to start the alignment that CTC then finds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int, Shaped

from crnn_jax.charset import PAD
from crnn_jax.config import FlatStartConfig

_MEMORY = 0.9  # decay of the running mean of the flat-start loss, per step
_END = 0.01  # a weight below this becomes 0
_BLUR = 5  # pixels
_FLOOR = 0.1  # quantile of the columns' ink that counts as background


class FlatStart(NamedTuple):
    """The state of the flat start."""

    loss: Float[Array, ""]  # running mean of the flat-start loss; a uniform guess has 1
    weight: Float[Array, ""]  # weight in the objective: 1, then falls to 0 and stays there

    def advance(
        self,
        loss: Float[Array, ""],
        step: Int[Array, ""],
        num_classes: int,
        num_steps: Int[Array, ""] | int,
        config: FlatStartConfig,
    ) -> FlatStart:
        """Returns the state after update `step`, from 0, of `num_steps`.

        `loss` is the mean over the images of the batch that have text. It is 0 if none has; such a
        batch does not change the running mean.

        The weight falls once the model tells symbols apart; easy images need fewer steps. The
        weight begins to fall within the first third of the run and is 0 within the first half.
        """
        even = math.log(max(num_classes - 1, 2))  # the blank is never a target
        mean = _MEMORY * self.loss + (1 - _MEMORY) * loss / even
        loss = jnp.where(loss > 0, mean, self.loss)
        is_over = step >= jnp.minimum(config.max_steps, num_steps // 3)
        falling = (self.weight < 1) | (loss < config.until) | is_over
        fade_steps = jnp.minimum(config.fade_steps, num_steps / 6 / -math.log(_END))
        fade_steps = jnp.maximum(fade_steps, 1)
        # The weight falls by a constant factor, not a constant amount, so that CTC takes over
        # gradually. With a sudden change, a quarter of the seeds fell back to the plateau.
        fallen = self.weight * (1 - 1 / fade_steps)
        fallen = jnp.where(fallen < _END, 0, fallen)
        return FlatStart(loss, jnp.where(falling, fallen, self.weight))


def start(config: FlatStartConfig) -> FlatStart:
    """Returns the state before the first step; the weight is 0 if the flat start is off."""
    return FlatStart(jnp.ones(()), jnp.float32(config.until > 0))


def loss(
    logits: Float[Array, "B T K"],
    labels: Int[Array, "B L"],
    images: Shaped[Array, "B W H C"],
    trim: float,
) -> Float[Array, " B"]:
    """Returns the mean cross-entropy against the segmentation, in nats; 0 for an empty text.

    Args:
      logits: from the model.
      labels: padded with PAD.
      images: pixels.
      trim: the share of the ink at either end that does not count as text. Steps in these parts
        have no target.
    """
    targets = segment(labels, ink_position(images, logits.shape[1]), trim)
    inside = targets != PAD
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    return jnp.sum(losses, axis=1, where=inside) / jnp.maximum(jnp.sum(inside, axis=1), 1)


def segment(
    labels: Int[Array, "B L"], position: Float[Array, "B T"], trim: float
) -> Int[Array, "B T"]:
    """Returns the target of each step, or PAD for steps without one.

    The ink between `trim` and 1 - `trim` is divided equally among the symbols of the label.

    Args:
      labels: padded with PAD.
      position: as returned by `ink_position`.
      trim: as for `loss`.
    """
    lengths = jnp.sum(labels != PAD, axis=1, keepdims=True)  # [B, 1]
    symbol = jnp.floor(lengths * (position - trim) / (1 - 2 * trim)).astype(jnp.int32)  # [B, T]
    inside = (symbol >= 0) & (symbol < lengths)
    symbol = jnp.clip(symbol, 0, labels.shape[1] - 1)
    return jnp.where(inside, jnp.take_along_axis(labels, symbol, axis=1), PAD)


def ink_position(images: Shaped[Array, "B W H C"], num_steps: int) -> Float[Array, "B T"]:
    """Returns the share of ink left of the middle of each step.

    Ink is the difference of neighbors along the width, summed over a column. Strokes have ink, a
    smooth background has none, and a wide symbol has more than a narrow one. A blur removes noise,
    the ink of the emptiest columns is subtracted as background, and the square root keeps dark
    symbols from outweighing faint ones. Margins and gaps have little ink, so the segmentation
    follows the text wherever it is. An image without ink counts as evenly inked.
    """
    width = images.shape[1]
    pixels = images.astype(jnp.float32)
    for axis in (1, 2):
        pixels = _mean_filter(pixels, axis)
    ink = jnp.sum(jnp.abs(pixels[:, 1:] - pixels[:, :-1]), axis=(2, 3))  # [B, W - 1]
    floor = jnp.quantile(ink, _FLOOR, axis=1, keepdims=True)
    ink = jnp.sqrt(jnp.maximum(ink - floor, 0)) + 1e-6  # far below one pixel's gray level
    left = jnp.cumsum(ink, axis=1) / jnp.sum(ink, axis=1, keepdims=True)
    middles = ((jnp.arange(num_steps) + 0.5) * width / num_steps).astype(jnp.int32)
    return left[:, jnp.minimum(middles, width - 2)]


def _mean_filter(pixels: Float[Array, "B W H C"], axis: int) -> Float[Array, "B W H C"]:
    """Returns the mean over _BLUR pixels along an axis; edge pixels are repeated."""
    margin = [(0, 0)] * pixels.ndim
    margin[axis] = (_BLUR // 2, _BLUR // 2)
    padded = jnp.pad(pixels, margin, mode="edge")
    size = pixels.shape[axis]
    shifted = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(_BLUR))
    return sum(shifted, start=jnp.zeros_like(pixels)) / _BLUR
