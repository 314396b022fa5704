"""Connectionist temporal classification: the loss, the greedy decoder and the plateau loss.

Graves, Fernandez, Gomez & Schmidhuber 2006. The blank is the last class, K - 1, as in Keras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from crnn_jax.charset import PAD, Charset, required_steps
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import processes

# The alphabet of the reference's data set, sorted.
CAPTCHA_V2 = "2345678bcdefgmnpwxy"


def ctc_loss(logits: Float[Array, "B T K"], labels: Int[Array, "B L"]) -> Float[Array, " B"]:
    """Negative log-probability of each label in nats.

    This is optax.ctc_loss over all T steps. A label that does not fit into T steps costs about 1e5,
    not inf; data loading rejects such labels. In float32 a loss near zero can be slightly negative.
    """
    losses: Array = optax.ctc_loss(
        logits,
        jnp.zeros(logits.shape[:2]),
        labels,
        (labels == PAD).astype(jnp.float32),
        blank_id=logits.shape[-1] - 1,
    )
    return losses


def greedy_decode(logits: Float[Array, "B T K"]) -> Int[Array, "B T"]:
    """Best-path decoding: returns ids, padded with PAD on the right.

    Takes the best class of each step, merges runs and drops blanks (Graves et al. 2006, section
    3.2). The scores may be logits, log-probabilities or probabilities.
    """
    batch, steps, classes = logits.shape
    best = logits.argmax(-1).astype(jnp.int32)  # [B, T]
    previous = jnp.pad(best, ((0, 0), (1, 0)), constant_values=PAD)[:, :-1]
    keep = (best != previous) & (best != classes - 1)
    # A class that is kept moves to its rank; the others go to a column T that is cut off.
    target = jnp.where(keep, jnp.cumsum(keep, axis=1) - 1, steps)  # [B, T]
    ids = jnp.full((batch, steps + 1), PAD, jnp.int32)
    return ids.at[jnp.arange(batch)[:, None], target].set(best)[:, :steps]


_greedy_decode = jax.jit(greedy_decode)


def decode_batch_predictions(
    pred: ArrayLike, alphabet: str = CAPTCHA_V2, direction: str = "ltr"
) -> list[str]:
    """Returns the texts of predictions [B, T, K], like the reference's function of this name.

    Args:
      pred: softmax outputs, log-probabilities or logits, the blank last.
      alphabet: the symbols in the order of their classes, K - 1 of them.
      direction: ltr, or rtl for a reader of Hebrew or Arabic; see data.direction.

    Raises:
      ConfigError: the alphabet does not have K - 1 symbols.
      DeviceError: JAX cannot compute in this process.
    """
    return texts_of(pred, Charset(alphabet, direction))


def texts_of(pred: ArrayLike, charset: Charset) -> list[str]:
    """Like `decode_batch_predictions`, for the classes of `charset`."""
    processes.check()
    scores = jnp.asarray(pred)
    if scores.ndim != 3 or scores.shape[-1] != charset.num_classes:
        raise ConfigError(
            f"predictions must be [B, T, {charset.num_classes}] for the {len(charset.symbols)} "
            f"symbols of {charset.alphabet!r} and a blank, not {list(scores.shape)}; pass the "
            "model's alphabet"
        )
    return [charset.decode(row) for row in np.asarray(_greedy_decode(scores)).tolist()]


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
