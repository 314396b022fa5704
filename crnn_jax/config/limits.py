"""The rules that concern several keys of a config, and bounds on memory."""

from __future__ import annotations

import dataclasses

from crnn_jax import charset, schema
from crnn_jax.config.data_keys import AUTO, AUTO_WIDTHS
from crnn_jax.config.keys import Config
from crnn_jax.errors import ConfigError, quote

# A config may be untrusted, so these bounds keep its data and model within memory.
_MAX_GENERATED = 2**32  # bytes of a generated data set
_MAX_PARAMETERS = 2**28
_MAX_ACTIVATIONS = 2**30  # activations of one batch, in all layers


def check(c: Config) -> None:
    """Checks the rules that concern several keys of a config. ConfigError names the keys."""
    if c.data.width == AUTO:  # not resolved yet; the largest that it can become
        widest = max(AUTO_WIDTHS) * c.data.height
        c = dataclasses.replace(c, data=dataclasses.replace(c.data, width=widest))
    charset.parse_folding(c.data.case, c.data.merge, "data.")  # raises ConfigError
    if len(c.model.pools) != len(c.model.conv_features):
        raise ConfigError(
            f"model.pool must have {len(c.model.conv_features)} entries, one for each of "
            f"model.conv_features, not {len(c.model.pools)}"
        )
    least_width, least_height = c.model.reduction
    pixels = c.data.width * c.data.height
    batch = max(c.train.batch_size, c.train.eval_batch_size)
    parameters, activations = _sizes(c)
    lengths, steps = c.data.lengths, c.data.width // least_width
    rules = [
        ("data.width", c.data.width, c.data.width >= least_width, f"at least {least_width}"),
        ("data.height", c.data.height, c.data.height >= least_height, f"at least {least_height}"),
        (
            "data.width",
            c.data.width,
            pixels <= schema.MAX_PIXELS,
            f"so small that width times height is at most {schema.MAX_PIXELS}",
        ),
        (
            "data.length",
            quote(c.data.length),
            # The labels can have at most `steps` characters, so a larger maximum does no harm.
            not lengths or (lengths[0] <= min(lengths[1], steps) and lengths[1] > 0),
            f"at least 1 and fit into {steps} time steps, the smaller number first",
        ),
        ("data.num_folds", c.data.num_folds, c.data.num_folds != 1, "0 (off) or at least 2"),
        (
            "data.fold",
            c.data.fold,
            c.data.fold < max(c.data.num_folds, 1),
            "from 0 to num_folds - 1",
        ),
        (
            "data.label_pattern",
            quote(c.data.label_pattern),
            schema.is_label_pattern(c.data.label_pattern),
            "a regular expression with one group, no repeated group, and at most four of * + ? { |",
        ),
        (
            "data.test_size",
            c.data.test_size,
            not c.data.test_size or c.data.source != "stream",
            "0 with data.source=stream",
        ),
        (
            "data.num_folds, data.fold and data.train_size",
            max(c.data.num_folds, c.data.fold, c.data.train_size),
            c.data.source != "stream" or not (c.data.num_folds or c.data.fold or c.data.train_size),
            "0 with data.source=stream",
        ),
        (
            "data.use_labels",
            c.data.use_labels,
            c.data.use_labels or bool(c.train.init_from and c.data.alphabet),
            "True unless train.init_from is a run and data.alphabet lists its symbols",
        ),
        (
            "data.val_dir",
            quote(c.data.val_dir),
            not c.data.val_dir
            or (c.data.source not in ("synthetic", "stream") and c.data.use_labels),
            "empty if images are generated or data.use_labels is False",
        ),
        (
            "data.val_dir",
            quote(c.data.val_dir),
            not c.data.val_dir or not c.data.num_folds,
            "empty if data.num_folds is set, because each fold is a validation part",
        ),
        (
            "data.unlabeled",
            quote(c.data.unlabeled),
            not c.data.unlabeled or c.data.source in ("auto", "folder"),
            f"empty with data.source={c.data.source}",
        ),
        (
            "data.unlabeled",
            quote(c.data.unlabeled),
            not c.data.unlabeled or c.data.use_labels,
            "empty if data.use_labels is False (put all images into data.dir)",
        ),
        (
            "data.unlabeled",
            quote(c.data.unlabeled),
            c.data.unlabeled != "rest" or c.data.train_size > 0,
            "a folder unless data.train_size is set",
        ),
        (
            "data.num_folds and data.train_size",
            max(c.data.num_folds, c.data.train_size),
            c.data.use_labels or not (c.data.num_folds or c.data.train_size),
            "0 without data.use_labels",
        ),
        (
            "data.min_val_size",
            c.data.min_val_size,
            not (c.data.min_val_size and c.data.num_folds),
            "0 with data.num_folds",
        ),
        (
            "data.use_labels",
            c.data.use_labels,
            c.data.use_labels or c.data.source in ("auto", "folder"),
            f"True with data.source={c.data.source}",
        ),
        (
            "data.count",
            c.data.count,
            # A stream draws a batch at a time; a folder and a mixture do not use it.
            c.data.source not in ("auto", "synthetic")
            or pixels * c.data.channels * c.data.count <= _MAX_GENERATED,
            f"so small that all generated images have at most {_MAX_GENERATED} bytes",
        ),
        (
            "model",
            parameters,
            parameters <= _MAX_PARAMETERS,
            f"so small that it has at most {_MAX_PARAMETERS} parameters",
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
    """Counts the parameters of the model without its last layer, and its activations per image."""
    width, height, inputs = c.data.width, c.data.height, int(c.data.channels)
    parameters, activations = 0, width * height * inputs * (1 + c.augment.lines)
    for features, (across, down) in zip(c.model.conv_features, c.model.pools, strict=True):
        parameters += 9 * inputs * features
        activations += width * height * features
        width, height, inputs = width // across, height // down, features
    parameters += height * inputs * c.model.dense_features
    inputs = c.model.dense_features
    activations += width * inputs
    for units in c.model.lstm_units:
        parameters += 8 * units * (inputs + units)
        activations += 10 * width * units  # four gates and the output, in both directions
        inputs = 2 * units
    return parameters, activations
