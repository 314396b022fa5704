"""crnn-jax: a CRNN that reads text captchas, in JAX.

Shapes are ``Float[Array, "B T K"]`` in public signatures and ``# [B, T, K]`` in comments, with
these letters everywhere:

    N  examples of a data set       B  examples of a batch
    W  width of an image            H  height           C  channels
    T  time steps of the model      D  features         U  units of one LSTM direction
    K  classes, symbols + 1: ids 0 .. K-2 are the alphabet in order, K-1 is the CTC blank
    L  length of the longest label; shorter ones are padded on the right with -1
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` returns, for type checkers and editors
    from crnn_jax.inference.evaluate import Reading
    from crnn_jax.inference.recognizer import Recognizer, load
    from crnn_jax.models.greedy import decode_batch_predictions
    from crnn_jax.training.train import train_and_evaluate
    from crnn_jax.training.trained import train

__version__ = "0.1.0"

# Names are imported on first use, so that commands that do not need jax start fast.
_HOMES = {
    "load": "crnn_jax.inference.recognizer",
    "Recognizer": "crnn_jax.inference.recognizer",
    "Reading": "crnn_jax.inference.evaluate",
    "decode_batch_predictions": "crnn_jax.models.greedy",
    "train": "crnn_jax.training.trained",
    "train_and_evaluate": "crnn_jax.training.train",
}
__all__ = [
    "Reading",
    "Recognizer",
    "decode_batch_predictions",
    "load",
    "train",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
