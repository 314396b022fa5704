"""What a step minimises: CTC, the flat start's guide for a while, and what a config adds."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from crnn_jax.charset import PAD
from crnn_jax.config import Config
from crnn_jax.models import ctc_loss as ctc
from crnn_jax.training import flat_start


def objective(
    logits: jax.Array,
    labels: jax.Array,
    pixels: jax.Array,
    mask: jax.Array,
    guide_share: jax.Array,
    config: Config,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The objective; and its mean CTC loss and guide loss, in nats for a picture and for a step.

    On a shard of a batch: its contribution. The shards sum to the batch value.

    Args:
      logits: [B, T, K].
      labels: i32 [B, L].
      pixels: [B, W, H, C], what the model saw.
      mask: bool [B], False for padding.
      guide_share: f32, how much of the objective is the flat start's.
      config: of the run.
      total: the sum of a number over the parts of the batch; not differentiated.
    """
    weights, count = config.loss, total(jnp.sum(mask))

    def mean(losses: jax.Array) -> jax.Array:
        return jnp.sum(losses, where=mask) / count

    losses = ctc.ctc_loss(logits, labels)
    value = ctc_loss = mean(losses)
    if weights.by_length:
        lengths = jnp.sum(labels != PAD, axis=1)
        value = mean(losses / jnp.maximum(lengths, 1)) * total(mean(lengths))
    if weights.entropy:
        # Pereyra et al. 2017: a confident distribution costs.
        value -= weights.entropy * mean(entropy(logits))
    guide = jnp.zeros(())
    if config.flat_start.until:
        guide = mean(flat_start.loss(logits, labels, pixels, config.flat_start.trim))
        value = (1 - guide_share) * value + guide_share * logits.shape[1] * guide
    return value, (ctc_loss, guide)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy of the distributions, summed over the steps: [B, T, K] to [B], nats."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=(1, 2))
