"""Parses and checks configurations; `config_keys` declares the keys.

Only this module converts a ConfigDict to frozen dataclasses.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from crnn_jax import charset, key_suggestions, schema
from crnn_jax.config_keys import (
    DEFAULT_DIR,
    RENAMED,
    AugmentConfig,
    Config,
    DataConfig,
    FlatStartConfig,
    LogConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from crnn_jax.errors import ConfigError, quote

__all__ = [
    "DEFAULT_DIR",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "FlatStartConfig",
    "LogConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainConfig",
]

# A config may be untrusted, so these bounds keep its data and model within memory.
_MAX_GENERATED = 2**32  # bytes of a generated data set
_MAX_PARAMETERS = 2**28
_MAX_ACTIVATIONS = 2**30  # of one batch, in all layers


def defaults() -> dict[str, Any]:
    """Returns the default of every key, as nested plain values."""
    return dataclasses.asdict(Config())


def from_config_dict(config: ml_collections.ConfigDict) -> Config:
    """Builds a Config from an ml_collections ConfigDict. ConfigError names the wrong keys."""
    return from_dict(config.to_dict())


def from_dict(values: Mapping[str, Any]) -> Config:
    """Builds a Config from nested plain values. ConfigError names the wrong keys."""
    config: Config = _build(Config, values, "")
    _check_limits(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Returns the config as nested plain values, as in JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Converts {'data': {'fold': 0}} to {'data.fold': 0}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` with some replaced, by dotted key. ConfigError: there is no such key."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for key, value in changes.items():
        check_key(key)
        section, _, name = key.rpartition(".")
        inner = result.get(section) if section else result
        if not isinstance(inner, dict):
            raise ConfigError(f"the config has no section {section}")
        inner[name] = value
    return result


def num_steps(config: Config) -> int:
    """Returns the number of time steps T: the width after pooling, rounded down."""
    return config.data.width // config.model.reduction[0]


def check_key(key: str) -> None:
    """Raises ConfigError unless the dotted `key` exists; it names the new or the nearest key."""
    declared = dict(declared_keys())
    known = [*declared, *(["grid.seeds", "grid.folds"] if key[:5] == "grid." else [])]
    if key in known:
        return
    if key in RENAMED:
        raise ConfigError(f"the config key {key} was renamed to {RENAMED[key]}")
    near = key_suggestions.nearest(key, known)
    hint = f"did you mean {near}?" if near else f"the keys are: {', '.join(known)}"
    raise ConfigError(f"there is no config key {quote(key)}; {hint}")


def declared_keys() -> Iterator[tuple[str, Any]]:
    """Yields all dotted keys with their declared types."""
    for name, kind in _kinds(Config).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from ((f"{name}.{key}", inner) for key, inner in _kinds(kind).items())
        else:
            yield name, kind


def reference() -> Iterator[tuple[str, str, str, str]]:
    """Yields the name, the default, the type and range, and the meaning of every key."""
    values = flatten(defaults())
    kinds = dict(declared_keys())
    for section in (None, *(field.name for field in dataclasses.fields(Config))):
        owner = Config if section is None else _kinds(Config)[section]
        if not (isinstance(owner, type) and dataclasses.is_dataclass(owner)):
            continue
        for field in dataclasses.fields(owner):
            key = field.name if section is None else f"{section}.{field.name}"
            if key in kinds:
                yield key, repr(values[key]), schema.rule(kinds[key]), field.metadata["meaning"]


@functools.cache
def _kinds(cls: Any) -> Mapping[str, Any]:
    """Returns the declared types of a section's keys, with their ranges."""
    return types.MappingProxyType(typing.get_type_hints(cls, include_extras=True))


def _build(cls: Any, values: Any, prefix: str) -> Any:
    """Builds the section `cls` from plain values. ConfigError names all wrong keys in it."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{prefix.rstrip('.') or 'a config'} must be a section, not {quote(values)}"
        )
    kinds = _kinds(cls)
    for key in values:
        if key not in kinds:
            check_key(f"{prefix}{key}")
    if missing := [prefix + key for key in kinds if key not in values]:
        raise ConfigError(
            f"the config has no value for {', '.join(missing)} (see crnn_jax/config_keys.py)"
        )
    result, wrong = {}, []
    for key, kind in kinds.items():
        try:
            if dataclasses.is_dataclass(kind):
                result[key] = _build(kind, values[key], f"{prefix}{key}.")
            else:
                result[key] = check_value(kind, values[key], prefix + key)
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("; ".join(wrong))
    return cls(**result)


def check_value(kind: Any, value: Any, key: str) -> Any:
    """Returns a value as the declared type `kind` of its key. ConfigError states the rule."""
    try:
        return schema.check(value, kind)
    except schema.InvalidError as error:
        raise ConfigError(
            f"{key} must be {schema.rule(kind, value)}, not {quote(value)}"
        ) from error


def _check_limits(c: Config) -> None:
    """Checks the rules that concern several keys of a config. ConfigError names the keys."""
    if c.data.width == 0:  # not resolved yet; the largest that it can become
        c = dataclasses.replace(c, data=dataclasses.replace(c.data, width=7 * c.data.height))
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
    rules = [
        ("data.width", c.data.width, c.data.width >= least_width, f"at least {least_width}"),
        ("data.height", c.data.height, c.data.height >= least_height, f"at least {least_height}"),
        (
            "data.width",
            c.data.width,
            pixels <= schema.MAX_PIXELS,
            f"so small that width times height is at most {schema.MAX_PIXELS}",
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
            "empty for generated images and without data.use_labels",
        ),
        (
            "data.val_dir",
            quote(c.data.val_dir),
            not c.data.val_dir or not c.data.num_folds,
            "empty with data.num_folds, each of which is validated on",
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
            "empty without data.use_labels (put all images into data.dir)",
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
            # A stream draws a batch at a time.
            pixels * c.data.channels * c.data.count <= _MAX_GENERATED or c.data.source == "stream",
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
