"""The rules that concern several keys of a config, and bounds on memory."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from crnn_jax import charset, schema
from crnn_jax.config.data_keys import AUTO, auto_widths
from crnn_jax.config.keys import Config
from crnn_jax.errors import ConfigError, quote

# A config may be untrusted, so these bounds keep its model within memory.
_MAX_PARAMETERS = 2**28
_MAX_ACTIVATIONS = 2**30  # activations of one batch, in all layers


class _Rule(NamedTuple):
    key: str
    value: object
    holds: bool
    words: str  # what the value must be


def check(c: Config) -> None:
    """Checks the rules that concern several keys of a config. ConfigError names the keys."""
    if c.data.width == AUTO:  # not resolved yet; the largest that it can become
        widest = auto_widths(c.data.height)[-1]
        c = dataclasses.replace(c, data=dataclasses.replace(c.data, width=widest))
    charset.parse_folding(c.data.case, c.data.merge, "data.")  # raises ConfigError
    if len(c.model.pools) != len(c.model.conv_features):
        raise ConfigError(
            f"model.pool must have {len(c.model.conv_features)} entries, one for each of "
            f"model.conv_features, not {len(c.model.pools)}"
        )
    rules = [*_rules_of_input(c), *_rules_of_data(c), *_rules_of_size(c)]
    wrong = [
        f"{key} must be {words}, not {value}" for key, value, holds, words in rules if not holds
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))


def _rules_of_input(c: Config) -> list[_Rule]:
    """Width, height and text length must suit the model."""
    data, (least_width, least_height) = c.data, c.model.reduction
    lengths, steps = data.lengths, data.width // least_width
    return [
        _Rule("data.width", data.width, data.width >= least_width, f"at least {least_width}"),
        _Rule("data.height", data.height, data.height >= least_height, f"at least {least_height}"),
        _Rule(
            "data.width",
            data.width,
            data.width * data.height <= schema.MAX_PIXELS,
            f"so small that width times height is at most {schema.MAX_PIXELS}",
        ),
        _Rule(
            "data.length",
            quote(data.length),
            # The labels can have at most `steps` characters, so a larger maximum does no harm.
            not lengths or (lengths[0] <= min(lengths[1], steps) and lengths[1] > 0),
            f"at least 1 and fit into {steps} time steps, the smaller number first",
        ),
    ]


def _rules_of_data(c: Config) -> list[_Rule]:
    """Source, labels and parts must go together."""
    data = c.data
    is_stream, has_labels = data.source == "stream", data.use_labels
    pattern_fault = schema.label_pattern_fault(data.label_pattern)
    return [
        _Rule("data.num_folds", data.num_folds, data.num_folds != 1, "0 (off) or at least 2"),
        _Rule(
            "data.fold", data.fold, data.fold < max(data.num_folds, 1), "from 0 to num_folds - 1"
        ),
        _Rule(
            "data.label_pattern",
            f"{quote(data.label_pattern)}: {pattern_fault}",
            not pattern_fault,
            "a regular expression with one group",
        ),
        _Rule(
            "data.test_size",
            data.test_size,
            not (data.test_size and is_stream),
            "0 with data.source=stream",
        ),
        _Rule(
            "data.num_folds, data.fold and data.train_size",
            max(data.num_folds, data.fold, data.train_size),
            not (is_stream and (data.num_folds or data.fold or data.train_size)),
            "0 with data.source=stream",
        ),
        _Rule(
            "data.use_labels",
            has_labels,
            has_labels or bool(c.train.init_from and data.alphabet),
            "True unless train.init_from is a run and data.alphabet lists its symbols",
        ),
        _Rule(
            "data.use_labels",
            has_labels,
            has_labels or data.source in ("auto", "folder"),
            f"True with data.source={data.source}",
        ),
        _Rule(
            "data.val_dir",
            quote(data.val_dir),
            not data.val_dir or (data.source not in ("synthetic", "stream") and has_labels),
            "empty if images are generated or data.use_labels is False",
        ),
        _Rule(
            "data.val_dir",
            quote(data.val_dir),
            not (data.val_dir and data.num_folds),
            "empty if data.num_folds is set, because each fold is a validation part",
        ),
        _Rule(
            "data.unlabeled",
            quote(data.unlabeled),
            not data.unlabeled or data.source in ("auto", "folder"),
            f"empty with data.source={data.source}",
        ),
        _Rule(
            "data.unlabeled",
            quote(data.unlabeled),
            not data.unlabeled or has_labels,
            "empty if data.use_labels is False (put all images into data.dir)",
        ),
        _Rule(
            "data.unlabeled",
            quote(data.unlabeled),
            data.unlabeled != "rest" or data.train_size > 0,
            "a folder; 'rest' needs data.train_size above 0",
        ),
        _Rule(
            "data.num_folds and data.train_size",
            max(data.num_folds, data.train_size),
            has_labels or not (data.num_folds or data.train_size),
            "0 without data.use_labels",
        ),
        _Rule(
            "data.min_val_size",
            data.min_val_size,
            not (data.min_val_size and data.num_folds),
            "0 with data.num_folds",
        ),
    ]


def _rules_of_size(c: Config) -> list[_Rule]:
    """Model and batch must fit into the memory."""
    parameters, activations = _sizes(c)
    batch = max(c.train.batch_size, c.train.eval_batch_size)
    return [
        _Rule(
            "model",
            parameters,
            parameters <= _MAX_PARAMETERS,
            f"so small that it has at most {_MAX_PARAMETERS} parameters",
        ),
        _Rule(
            "train.batch_size and train.eval_batch_size",
            batch,
            batch * activations <= _MAX_ACTIVATIONS,
            f"at most {_MAX_ACTIVATIONS // activations} for a model and images of this size",
        ),
    ]


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
