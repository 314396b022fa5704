"""Parses and checks configurations; `keys` declares the keys.

Only this module converts a ConfigDict to frozen dataclasses.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from crnn_jax import schema
from crnn_jax.config import limits, suggestions
from crnn_jax.config.data_keys import AUTO, DEFAULT_DIR, DataConfig
from crnn_jax.config.keys import (
    AugmentConfig,
    Config,
    FlatStartConfig,
    LogConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from crnn_jax.config.suggestions import RENAMED
from crnn_jax.errors import ConfigError, quote

if TYPE_CHECKING:
    from ml_collections import ConfigDict

__all__ = [
    "DEFAULT_DIR",
    "AugmentConfig",
    "Changes",
    "Config",
    "DataConfig",
    "FlatStartConfig",
    "LogConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainConfig",
]

# A whole config, or changes to the base recipe by dotted key.
Changes: TypeAlias = "Config | ConfigDict | Mapping[str, Any]"


def defaults() -> dict[str, Any]:
    """Returns the default of every key, as nested plain values."""
    return dataclasses.asdict(Config())


def from_config_dict(config: ConfigDict) -> Config:
    """Builds a Config from an ml_collections ConfigDict. ConfigError names the wrong keys."""
    return from_dict(config.to_dict())


def from_changes(config: Changes) -> Config:
    """Builds a Config from a Config, a ConfigDict, or changes to the base recipe by dotted key.

    ConfigError names the wrong keys.
    """
    if isinstance(config, Config):
        return config
    from ml_collections import ConfigDict  # not needed to read with a trained model

    if isinstance(config, ConfigDict):
        return from_config_dict(config)
    if not isinstance(config, Mapping):
        raise ConfigError(
            "a config must be a Config, a ConfigDict, or changes to the base recipe such as "
            f"{{'data.dir': 'my_captchas'}}, not {quote(config)}"
        )
    return from_dict(with_changes(defaults(), config))


def from_dict(values: Mapping[str, Any]) -> Config:
    """Builds a Config from nested plain values. ConfigError names the wrong keys."""
    config: Config = _build(Config, values, "")
    limits.check(config)
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
    """Returns `values` with `changes` by dotted key. ConfigError: a key does not exist."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for key, value in changes.items():
        check_key(key)
        section, _, name = key.rpartition(".")
        inner = result.get(section) if section else result
        if not isinstance(inner, dict):
            raise ConfigError(f"the config has no section {section}")
        inner[name] = value
    return result


def with_width(config: Config, width: int) -> Config:
    """Returns the config with a different data.width."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, width=width))


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
    near = suggestions.nearest(key, known)
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
            raise ConfigError(f"{prefix}{key} belongs in the section {key.partition('.')[0]}")
    if missing := [prefix + key for key in kinds if key not in values]:
        raise ConfigError(
            f"the config has no value for {', '.join(missing)} (see crnn_jax/config/keys.py)"
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
    """Converts a value to the declared type `kind` of its key. ConfigError states the rule."""
    if kind == schema.Width and value == "auto":
        return AUTO
    try:
        return schema.check(value, kind)
    except schema.InvalidError as error:
        raise ConfigError(
            f"{key} must be {schema.rule(kind, value)}, not {quote(value)}"
        ) from error
