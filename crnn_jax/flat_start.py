"""The flat start: what tells CTC, in its first epochs, that symbols stand from left to right.

CTC's first discovery is the constant predictor, a plateau on which SGD can stay for dozens of
epochs. Speech recognition starts its models from a uniform segmentation of the transcript
instead (Young et al., The HTK Book, section 8.3). So does this: each label is cut over the
picture's time steps, and the frame-wise cross-entropy against that is added for a while. The
segmentation is wrong in detail, and good enough to start the alignment that CTC then finds.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from crnn_jax.charset import PAD


def loss(logits: jax.Array, labels: jax.Array, images: jax.Array, trim: float) -> jax.Array:
    """Mean cross-entropy against the segmentation, in nats: [B].

    Args:
      logits: [B, T, K].
      labels: i32 [B, L], each of at least one symbol.
      images: pixels [B, W, H, C].
      trim: the share of the ink at either end that is taken for something else than text;
        steps out there have no target.
    """
    targets = segment(labels, ink_position(images, logits.shape[1]), trim)
    inside = targets != PAD
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    return jnp.sum(losses, axis=1, where=inside) / jnp.maximum(jnp.sum(inside, axis=1), 1)


def segment(labels: jax.Array, position: jax.Array, trim: float) -> jax.Array:
    """Target of each step, PAD for none: labels [B, L], positions [B, T] to i32 [B, T].

    The ink between `trim` and 1 - `trim` is shared equally by the symbols of the label.
    """
    lengths = jnp.sum(labels != PAD, axis=1, keepdims=True)  # [B, 1]
    symbol = jnp.floor(lengths * (position - trim) / (1 - 2 * trim)).astype(jnp.int32)  # [B, T]
    inside = (symbol >= 0) & (symbol < lengths)
    symbol = jnp.clip(symbol, 0, labels.shape[1] - 1)
    return jnp.where(inside, jnp.take_along_axis(labels, symbol, axis=1), PAD)


def ink_position(images: jax.Array, num_steps: int) -> jax.Array:
    """Share of a picture's ink that lies left of the middle of each step: [B, W, H, C] to [B, T].

    Ink is the squared difference of neighbours along the width, summed over a column: strokes
    count, a smooth background does not, and a wide symbol has more than a narrow one. Margins
    and gaps take no share, so the segmentation follows the text wherever it stands. A picture
    without ink counts as evenly inked.
    """
    width = images.shape[1]
    pixels = images.astype(jnp.float32)
    ink = jnp.sum(jnp.square(pixels[:, 1:] - pixels[:, :-1]), axis=(2, 3))  # [B, W - 1]
    ink = ink + 1e-6  # far below one pixel's grey level
    left = jnp.cumsum(ink, axis=1) / jnp.sum(ink, axis=1, keepdims=True)
    middles = ((jnp.arange(num_steps) + 0.5) * width / num_steps).astype(jnp.int32)
    return left[:, jnp.minimum(middles, width - 2)]
