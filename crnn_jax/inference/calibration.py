"""Calibrates confidence by temperature scaling, fitted on held-out images.

All logits are divided by one temperature (Guo, Pleiss, Sun & Weinberger 2017, section 4.2). This
changes probabilities but not the best path. It can change the most probable text if probabilities
are summed, over alignments (beam search) or over merged symbols.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from crnn_jax.models import ctc_loss
from crnn_jax.runtime import program_store

_TEMPERATURES = tuple(1.02**i for i in range(-100, 101))
# Standard deviation of the prior of the log temperature, whose mean is 0. Without a prior, a set
# without misreads would have a temperature of 0 and so a confidence of 1 in every reading.
_PRIOR_STD = 0.5


@program_store.jit
def fit_temperature(logits: Float[Array, "N T K"], labels: Int[Array, "N L"]) -> Float[Array, ""]:
    """Returns the most probable temperature given the labels, from 0.14 to 7.2 in steps of 2 %.

    The likelihood is that of the labels under CTC; the prior is log-normal around 1.
    Labels are padded with PAD.
    """
    log_temperatures = jnp.log(jnp.asarray(_TEMPERATURES))

    def cost(log_temperature: Array) -> Array:
        losses = ctc_loss.ctc_loss(logits / jnp.exp(log_temperature), labels)
        return jnp.sum(losses) + (log_temperature / _PRIOR_STD) ** 2 / 2

    return jnp.exp(log_temperatures[jnp.argmin(jax.lax.map(cost, log_temperatures))])
