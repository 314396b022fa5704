"""Greedy decoding, also under the name that it has in the Keras example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from crnn_jax.charset import PAD, Charset
from crnn_jax.errors import ConfigError
from crnn_jax.runtime import processes

# The alphabet of the reference's data set, sorted.
CAPTCHA_V2 = "2345678bcdefgmnpwxy"


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
