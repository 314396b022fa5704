"""The configuration as frozen dataclasses, which declare the type and the range of every key.

No field has a default: every key is set, with its meaning, in `experiments/base.py`. A range is a
`msgspec.Meta`; its `description` is the place for a line of documentation.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import ml_collections
from msgspec import Meta

from crnn_jax import config_limits, schema
from crnn_jax.errors import ConfigError, quote

DEFAULT_DIR = "data/captcha_images_v2"  # where the README puts the default data set

_Seed = schema.Seed
_Share = schema.Share
_Rate = Annotated[float, Meta(ge=0, lt=1)]
_Dropout = Annotated[float, Meta(ge=0, le=0.99)]  # of 1 - 1e-9 float32 makes 1
_Size = Annotated[  # pixels
    int,
    Meta(ge=1, le=2**20, extra={"note": f"width times height at most {config_limits.MAX_PIXELS}"}),
]
_Units = Annotated[int, Meta(ge=1, le=2**13)]
_Layers = Annotated[tuple[_Units, ...], Meta(min_length=1, max_length=16)]
_Batch = Annotated[int, Meta(ge=1, le=2**16)]
_Steps = Annotated[int, Meta(ge=1, le=10**8)]
_Epochs = Annotated[int, Meta(ge=0, le=10**6)]
# No NUL, and no surrogates but those that stand for the bytes of a file name.
_Path = Annotated[str, Meta(max_length=4096, pattern="\\A[^\\0\\ud800-\\udc7f\\udd00-\\udfff]*\\Z")]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: Literal["auto", "folder", "synthetic", "stream", "mixture"]
    dir: _Path
    style: _Path
    count: Annotated[int, Meta(ge=2, le=10**7)]
    synthetic_seed: _Seed
    generated_share: Annotated[float, Meta(gt=0, le=0.99)]
    width: _Size
    height: _Size
    channels: Literal[1, 3]
    alphabet: Annotated[str, Meta(max_length=2**16)]
    standardise: Literal["auto", "set", "picture", ""]
    val_fraction: Annotated[float, Meta(gt=0, lt=1)]
    split_seed: _Seed
    num_folds: Annotated[int, Meta(ge=0, le=10**6)]
    fold: Annotated[int, Meta(ge=0, le=10**6)]
    train_size: Annotated[int, Meta(ge=0, le=10**8)]


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    shift: _Share
    rotate: Annotated[float, Meta(ge=0, le=180)]
    scale: Annotated[float, Meta(ge=0, le=0.9)]
    shear: Annotated[float, Meta(ge=0, le=2)]
    ripple: _Share
    thickness: _Share
    lines: Annotated[int, Meta(ge=0, le=100)]
    blur: _Share
    contrast: _Share
    brightness: _Share
    noise: _Share

    @property
    def is_on(self) -> bool:
        return any(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    conv_features: _Layers
    dense_features: _Units
    lstm_units: _Layers
    dropout: _Dropout
    lstm_dropout: _Dropout
    norm: Literal["", "layer"]
    cell: Literal["lstm", "gru"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    name: Literal["sgd", "adam"]
    learning_rate: Annotated[float, Meta(gt=0, le=1000)]
    momentum: Annotated[float, Meta(ge=0, le=0.9999)]
    nesterov: bool
    clip_norm: Annotated[float, Meta(ge=0, le=1e9)]
    clip_each: bool
    warmup_steps: Annotated[int, Meta(ge=0, le=10**8)]
    schedule: Literal["cosine", "constant"]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    by_length: bool
    entropy: Annotated[float, Meta(ge=0, le=100)]


@dataclasses.dataclass(frozen=True)
class FlatStartConfig:
    until: _Share
    max_steps: _Steps
    fade_steps: _Steps
    trim: Annotated[float, Meta(ge=0, lt=0.5)]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    batch_size: _Batch
    epochs: Annotated[int, Meta(ge=1, le=10**6)]
    stop_after: _Epochs
    init_from: _Path
    patience: _Epochs
    weights: Literal["best", "last"]
    average_decay: _Rate
    eval_batch_size: _Batch


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_steps: _Steps
    tensorboard: bool


@dataclasses.dataclass(frozen=True)
class Config:
    seed: _Seed
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    loss: LossConfig
    flat_start: FlatStartConfig
    train: TrainConfig
    log: LogConfig


def from_config_dict(config: ml_collections.ConfigDict) -> Config:
    """The Config of an ml_collections ConfigDict. ConfigError names the wrong keys."""
    return from_dict(config.to_dict())


def from_dict(values: Mapping[str, Any]) -> Config:
    """The Config of nested plain values, as in `config.json`. ConfigError names the wrong keys."""
    config = _build(Config, values, "")
    config_limits.check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values, as in JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'data': {'fold': 0}} to {'data.fold': 0}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain values with some replaced, by dotted key. ConfigError: there is no such key."""
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
    """The time steps T: the pooling of each convolution halves the width, rounding down."""
    return config.data.width >> len(config.model.conv_features)


def check_key(key: str) -> None:
    """Raises ConfigError, naming the nearest key, unless the dotted `key` exists."""
    declared = dict(declared_keys())
    known = [*declared, *(["grid.seeds", "grid.folds"] if key[:5] == "grid." else [])]
    if key in known:
        return
    _, _, last = key.rpartition(".")
    # The right name in the wrong section is as likely as a misspelled one.
    near = [k for k in known if k.rpartition(".")[2] == last] or difflib.get_close_matches(
        key[:100], known, n=1, cutoff=0.5
    )
    hint = f"did you mean {near[0]}?" if near else f"the keys are: {', '.join(known)}"
    raise ConfigError(f"there is no config key {quote(key)}; {hint}")


def declared_keys() -> Iterator[tuple[str, Any]]:
    """All dotted keys with their declared types."""
    for name, kind in _kinds(Config).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from ((f"{name}.{key}", inner) for key, inner in _kinds(kind).items())
        else:
            yield name, kind


@functools.cache
def _kinds(cls: Any) -> Mapping[str, Any]:
    """The declared types of a section's keys, with their ranges."""
    return types.MappingProxyType(typing.get_type_hints(cls, include_extras=True))


def _build(cls: Any, values: Any, prefix: str) -> Any:
    """The section `cls` of plain values. ConfigError names all keys that are wrong in it."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{prefix.rstrip('.') or 'a config'} must be a section, not {quote(values)}"
        )
    kinds = _kinds(cls)
    for key in values:
        if key not in kinds:
            check_key(f"{prefix}{key}")
    if missing := [prefix + key for key in kinds if key not in values]:
        raise ConfigError(f"the config lacks {', '.join(missing)} (see experiments/base.py)")
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
    """A value as the declared type `kind` of its key. ConfigError states the rule."""
    try:
        return schema.check(value, kind)
    except schema.InvalidError as error:
        raise ConfigError(f"{key} must be {rule(kind, value)}, not {quote(value)}") from error


def rule(kind: Any, value: Any = None) -> str:
    """The declared type and range in words; the range alone for a `value` of the right type."""
    base, *extras = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
    if typing.get_origin(base) is Literal:
        return " or ".join(map(repr, typing.get_args(base)))
    meta = extras[-1] if extras else Meta()
    if base is str:
        what = "text" if meta.pattern is None else "a valid path"
        return f"{what} of at most {meta.max_length} characters"
    if typing.get_origin(base) is tuple:
        return f"{meta.min_length} to {meta.max_length} numbers {rule(typing.get_args(base)[0], 0)}"
    bounds = {"at least": meta.ge, "above": meta.gt, "at most": meta.le, "below": meta.lt}
    given = {word: _number(bound) for word, bound in bounds.items() if bound is not None}
    if {"at least", "at most"} <= given.keys():
        text = f"from {given['at least']} to {given['at most']}"
    else:
        text = " and ".join(f"{word} {bound}" for word, bound in given.items())
    if meta.extra:
        text += f", and {meta.extra['note']}"
    if type(value) is base or (base is float and type(value) is int):
        return text
    return f"of type {base.__name__}" + (f", {text}" if text else "")


def _number(bound: float) -> str:
    return "2**32 - 1" if bound == 2**32 - 1 else f"{bound:g}" if bound > 2**30 else str(bound)
