"""What a step minimises: CTC, the flat start's guide for a while, and what a config adds."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crnn_jax import ctc, flat_start
from crnn_jax.charset import PAD
from crnn_jax.config import Config


def objective(
    logits: jax.Array,
    labels: jax.Array,
    pixels: jax.Array,
    mask: jax.Array,
    guide_share: jax.Array,
    config: Config,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The objective; and its mean CTC loss and guide loss, in nats for a picture and for a step.

    Args:
      logits: [B, T, K].
      labels: i32 [B, L].
      pixels: [B, W, H, C], what the model saw.
      mask: bool [B], False for padding.
      guide_share: f32, how much of the objective is the flat start's.
      config: of the run.
    """
    weights = config.loss

    def mean(losses: jax.Array) -> jax.Array:
        return jnp.sum(losses, where=mask) / jnp.sum(mask)

    losses = ctc.ctc_loss(logits, labels)
    total = ctc_loss = mean(losses)
    if weights.by_length:
        lengths = jnp.sum(labels != PAD, axis=1)
        total = mean(losses / jnp.maximum(lengths, 1)) * mean(lengths)
    if weights.entropy:
        # Pereyra et al. 2017: a confident distribution costs.
        total -= weights.entropy * mean(entropy(logits))
    guide = jnp.zeros(())
    if config.flat_start.until:
        guide = mean(flat_start.loss(logits, labels, pixels, config.flat_start.trim))
        total = (1 - guide_share) * total + guide_share * logits.shape[1] * guide
    return total, (ctc_loss, guide)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy of the distributions, summed over the steps: [B, T, K] to [B], nats."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=(1, 2))
