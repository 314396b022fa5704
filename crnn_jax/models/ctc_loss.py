"""Connectionist temporal classification: the loss, and the plateau loss.

Graves, Fernandez, Gomez & Schmidhuber 2006. The blank is the last class, K - 1, as in Keras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from crnn_jax.charset import PAD, required_steps


def ctc_loss(logits: Float[Array, "B T K"], labels: Int[Array, "B L"]) -> Float[Array, " B"]:
    """Negative log-probability of each label in nats.

    This is optax.ctc_loss over all T steps. A label that does not fit into T steps costs about 1e5,
    not inf; data loading rejects such labels. In float32 a loss near zero can be slightly negative.
    """
    import optax  # here, because reading without labels needs no loss

    losses: Array = optax.ctc_loss(
        logits,
        jnp.zeros(logits.shape[:2]),
        labels,
        (labels == PAD).astype(jnp.float32),
        blank_id=logits.shape[-1] - 1,
    )
    return losses


def plateau_loss(texts: Sequence[Sequence[str]], num_steps: int, num_symbols: int) -> float:
    """Returns the mean CTC loss of texts, in nats, of the best predictor that ignores the image.

    CTC training first learns to emit the same distribution at every step: blank with
    probability b, each of S symbols with (1 - b) / S. With n symbol steps, a text of L characters
    with r adjacent repeats has C(n-1, L-1) ways to form its L runs, and C(T-n-r+L, L) ways to
    place the T - n blanks in the L + 1 gaps, r of which must not be empty::

        P = sum_n C(n-1, L-1) C(T-n-r+L, L) b^(T-n) ((1-b)/S)^n,   n = L .. T-r,

    and b^T for an empty text.

    The result is the minimum over b of the mean of -log P.
    """
    kinds: dict[tuple[int, int], int] = {}
    for text in texts:
        kind = (len(text), required_steps(text) - len(text))
        kinds[kind] = kinds.get(kind, 0) + 1
    log_b = np.log(np.linspace(0.01, 0.99, 99))
    log_p = np.log1p(-np.exp(log_b)) - math.log(num_symbols)
    total = np.zeros_like(log_b)
    for (length, repeats), count in kinds.items():
        if not length:
            total -= count * num_steps * log_b
            continue
        terms = [
            math.log(math.comb(n - 1, length - 1))
            + math.log(math.comb(num_steps - n - repeats + length, length))
            + (num_steps - n) * log_b
            + n * log_p
            for n in range(length, num_steps - repeats + 1)
        ]
        total -= count * np.logaddexp.reduce(terms, axis=0)
    return float(total.min() / len(texts))
