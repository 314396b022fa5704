"""The rules of a config that concern several keys: sizes that fit together, and into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crnn_jax.errors import ConfigError

if TYPE_CHECKING:
    from crnn_jax.config import Config

# A config may come from a stranger: what it asks for must fit into memory.
MAX_PIXELS = 2**20  # of an image
_MAX_GENERATED = 2**32  # bytes of a generated data set
_MAX_PARAMETERS = 2**28
_MAX_ACTIVATIONS = 2**30  # numbers of one batch, in all layers


def check(c: Config) -> None:
    """Checks the rules that concern several keys of a config. ConfigError names the keys."""
    least = 2 ** len(c.model.conv_features)
    pixels = c.data.width * c.data.height
    batch = max(c.train.batch_size, c.train.eval_batch_size)
    parameters, activations = _sizes(c)
    rules = [
        ("data.width", c.data.width, c.data.width >= least, f"at least {least}"),
        ("data.height", c.data.height, c.data.height >= least, f"at least {least}"),
        (
            "data.width",
            c.data.width,
            pixels <= MAX_PIXELS,
            f"such that width times height is at most {MAX_PIXELS}",
        ),
        ("data.num_folds", c.data.num_folds, c.data.num_folds != 1, "0 (off) or at least 2"),
        (
            "data.fold",
            c.data.fold,
            c.data.fold < max(c.data.num_folds, 1),
            "from 0 to num_folds - 1",
        ),
        (
            "data.count",
            c.data.count,
            pixels * c.data.channels * c.data.count <= _MAX_GENERATED,
            f"such that all generated images have at most {_MAX_GENERATED} bytes",
        ),
        (
            "model",
            parameters,
            parameters <= _MAX_PARAMETERS,
            f"such that it has at most {_MAX_PARAMETERS} parameters",
        ),
        (
            "train.batch_size and train.eval_batch_size",
            batch,
            batch * activations <= _MAX_ACTIVATIONS,
            f"at most {_MAX_ACTIVATIONS // activations} for a model and images of this size",
        ),
    ]
    wrong = [
        f"{key} must be {words}, not {value}" for key, value, holds, words in rules if not holds
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))


def _sizes(c: Config) -> tuple[int, int]:
    """The parameters of the model without its last layer, and its activations for one image."""
    width, height, inputs = c.data.width, c.data.height, int(c.data.channels)
    parameters, activations = 0, width * height * inputs * (1 + c.augment.lines)
    for features in c.model.conv_features:
        parameters += 9 * inputs * features
        activations += width * height * features
        width, height, inputs = width // 2, height // 2, features
    parameters += height * inputs * c.model.dense_features
    inputs = c.model.dense_features
    activations += width * inputs
    for units in c.model.lstm_units:
        parameters += 8 * units * (inputs + units)
        activations += 10 * width * units  # four gates and the output, in both directions
        inputs = 2 * units
    return parameters, activations
