"""The configuration as frozen dataclasses. A ConfigDict becomes one at the door, here.

No field has a default: every key stands, with its meaning, in `experiments/base.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections

from crnn_jax.errors import ConfigError

SOURCES = ("auto", "folder", "synthetic", "stream", "mixture")
DEFAULT_DIR = "data/captcha_images_v2"  # where the README has the default set lie
STANDARDISE = ("auto", "set", "picture", "")
# A config may come from a stranger; what it asks for is still to fit into a memory.
_MOST_PIXELS, _MOST_LAYERS, _MOST_UNITS, _MOST_BATCH = 2**20, 16, 2**13, 2**16


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: str
    dir: str
    style: str
    count: int
    synthetic_seed: int
    generated_share: float
    width: int
    height: int
    channels: int
    alphabet: str
    standardise: str
    val_fraction: float
    split_seed: int
    num_folds: int
    fold: int
    train_size: int


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    shift: float
    rotate: float
    scale: float
    shear: float
    ripple: float
    thickness: float
    lines: int
    blur: float
    contrast: float
    brightness: float
    noise: float

    @property
    def is_on(self) -> bool:
        return any(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    conv_features: tuple[int, ...]
    dense_features: int
    lstm_units: tuple[int, ...]
    dropout: float
    lstm_dropout: float
    norm: str
    cell: str


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    name: str
    learning_rate: float
    momentum: float
    nesterov: bool
    clip_norm: float
    clip_each: bool
    warmup_steps: int
    schedule: str


@dataclasses.dataclass(frozen=True)
class LossConfig:
    by_length: bool
    entropy: float


@dataclasses.dataclass(frozen=True)
class FlatStartConfig:
    until: float
    max_steps: int
    fade_steps: int
    trim: float


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    batch_size: int
    epochs: int
    stop_after: int
    init_from: str
    patience: int
    weights: str
    average_decay: float
    eval_batch_size: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_steps: int
    tensorboard: bool


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    loss: LossConfig
    flat_start: FlatStartConfig
    train: TrainConfig
    log: LogConfig


def from_config_dict(config: ml_collections.ConfigDict) -> Config:
    """Checks an ml_collections ConfigDict and makes it a Config. ConfigError names the key."""
    return from_dict(config.to_dict())


def from_dict(values: Mapping[str, Any]) -> Config:
    """Checks nested plain values (as `config.json` holds them) and makes them a Config."""
    config = _build(Config, values, "")
    _check_ranges(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values, as JSON has them."""
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
    """Nested plain values with some replaced, by dotted key. ConfigError for an unknown key."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for key, value in changes.items():
        check_key(key)
        section, _, name = key.rpartition(".")
        (result[section] if section else result)[name] = value
    return result


def num_steps(config: Config) -> int:
    """T: every convolution's pooling halves the width, rounding down."""
    return config.data.width >> len(config.model.conv_features)


def check_key(key: str) -> None:
    """Raises ConfigError, naming the nearest key, unless the dotted `key` exists."""
    known = [*_known_keys(Config), *(["grid.seeds", "grid.folds"] if key[:5] == "grid." else [])]
    if key in known:
        return
    _, _, last = key.rpartition(".")
    # The right name in the wrong section is as likely as a slip of the fingers.
    near = [k for k in known if k.rpartition(".")[2] == last] or difflib.get_close_matches(
        key, known, n=1, cutoff=0.5
    )
    hint = f"did you mean {near[0]}?" if near else f"the keys are: {', '.join(known)}"
    raise ConfigError(f"there is no config key {key!r}; {hint}")


def _known_keys(cls: Any, prefix: str = "") -> list[str]:
    keys = []
    for name, kind in typing.get_type_hints(cls).items():
        keys += _known_keys(kind, f"{name}.") if dataclasses.is_dataclass(kind) else [prefix + name]
    return keys


def _build(cls: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} is a section of keys, not {values!r}")
    kinds = typing.get_type_hints(cls)
    for key in values:
        if key not in kinds:
            check_key(prefix + str(key))
    missing = [prefix + key for key in kinds if key not in values]
    if missing:
        raise ConfigError(f"the config lacks {', '.join(missing)} (see experiments/base.py)")
    return cls(**{key: _convert(kinds[key], values[key], prefix + key) for key in kinds})


def _convert(kind: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f"{key}.")
    if kind == tuple[int, ...] and isinstance(value, (list, tuple)):
        return tuple(_convert(int, item, key) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        name = getattr(kind, "__name__", str(kind))
        raise ConfigError(f"{key} must be of type {name}, not {value!r}")
    return value


def _are_sizes(numbers: tuple[int, ...]) -> bool:
    return 0 < len(numbers) <= _MOST_LAYERS and all(0 < n <= _MOST_UNITS for n in numbers)


def _check_ranges(c: Config) -> None:
    layers = min(len(c.model.conv_features), _MOST_LAYERS)
    rules = [
        ("seed", 0 <= c.seed < 2**32, "from 0 to 2**32 - 1"),
        ("data.source", c.data.source in SOURCES, " or ".join(map(repr, SOURCES))),
        ("data.count", c.data.count >= 2, "at least 2"),
        ("data.synthetic_seed", 0 <= c.data.synthetic_seed < 2**32, "from 0 to 2**32 - 1"),
        ("data.generated_share", 0 < c.data.generated_share < 1, "between 0 and 1"),
        ("data.split_seed", c.data.split_seed >= 0, "at least 0"),
        ("data.channels", c.data.channels in (1, 3), "1 (grey) or 3 (colour)"),
        (
            "data.standardise",
            c.data.standardise in STANDARDISE,
            " or ".join(map(repr, STANDARDISE)),
        ),
        ("data.val_fraction", 0 < c.data.val_fraction < 1, "between 0 and 1"),
        ("data.num_folds", c.data.num_folds == 0 or c.data.num_folds >= 2, "0 (off) or at least 2"),
        ("data.fold", 0 <= c.data.fold < max(c.data.num_folds, 1), "from 0 to num_folds - 1"),
        ("data.train_size", c.data.train_size >= 0, "0 (all) or a count of images"),
        ("augment.lines", c.augment.lines >= 0, "at least 0"),
        ("augment.shift", c.augment.shift >= 0, "at least 0"),
        ("augment.rotate", c.augment.rotate >= 0, "at least 0"),
        ("augment.ripple", c.augment.ripple >= 0, "at least 0"),
        ("augment.shear", c.augment.shear >= 0, "at least 0"),
        ("augment.noise", c.augment.noise >= 0, "at least 0"),
        ("augment.scale", 0 <= c.augment.scale < 1, "in [0, 1)"),
        ("augment.thickness", 0 <= c.augment.thickness <= 1, "from 0 to 1"),
        ("augment.blur", 0 <= c.augment.blur <= 1, "from 0 to 1"),
        ("augment.contrast", 0 <= c.augment.contrast <= 1, "from 0 to 1"),
        ("augment.brightness", 0 <= c.augment.brightness <= 1, "from 0 to 1"),
        (
            "model.conv_features",
            _are_sizes(c.model.conv_features),
            f"1 to {_MOST_LAYERS} numbers from 1 to {_MOST_UNITS}",
        ),
        ("data.width", c.data.width >> layers > 0, f"at least {1 << layers}"),
        ("data.height", c.data.height >> layers > 0, f"at least {1 << layers}"),
        (
            "data.width",
            c.data.width * c.data.height <= _MOST_PIXELS,
            f"such that width times height is at most {_MOST_PIXELS}",
        ),
        (
            "model.dense_features",
            0 < c.model.dense_features <= _MOST_UNITS,
            f"from 1 to {_MOST_UNITS}",
        ),
        (
            "model.lstm_units",
            _are_sizes(c.model.lstm_units),
            f"1 to {_MOST_LAYERS} numbers from 1 to {_MOST_UNITS}",
        ),
        ("model.dropout", 0 <= c.model.dropout < 1, "in [0, 1)"),
        ("model.lstm_dropout", 0 <= c.model.lstm_dropout < 1, "in [0, 1)"),
        ("model.norm", c.model.norm in ("", "layer"), "'' or layer"),
        ("model.cell", c.model.cell in ("lstm", "gru"), "lstm or gru"),
        ("optimizer.name", c.optimizer.name in ("sgd", "adam"), "sgd or adam"),
        ("optimizer.learning_rate", c.optimizer.learning_rate > 0, "positive"),
        ("optimizer.momentum", 0 <= c.optimizer.momentum < 1, "in [0, 1)"),
        ("optimizer.clip_norm", c.optimizer.clip_norm >= 0, "0 (off) or positive"),
        ("optimizer.warmup_steps", c.optimizer.warmup_steps >= 0, "at least 0"),
        ("optimizer.schedule", c.optimizer.schedule in ("cosine", "constant"), "cosine, constant"),
        ("loss.entropy", c.loss.entropy >= 0, "at least 0"),
        ("flat_start.until", 0 <= c.flat_start.until <= 1, "0 (off) to 1"),
        ("flat_start.max_steps", c.flat_start.max_steps > 0, "positive"),
        ("flat_start.fade_steps", c.flat_start.fade_steps > 0, "positive"),
        ("flat_start.trim", 0 <= c.flat_start.trim < 0.5, "in [0, 0.5)"),
        ("train.batch_size", c.train.batch_size > 0, "positive"),
        (
            "train.eval_batch_size",
            0 < c.train.eval_batch_size <= _MOST_BATCH,
            f"from 1 to {_MOST_BATCH}",
        ),
        ("train.epochs", c.train.epochs > 0, "positive"),
        ("train.stop_after", c.train.stop_after >= 0, "0 (never) or a count of epochs"),
        ("train.patience", c.train.patience >= 0, "0 (never stop early) or positive"),
        ("train.average_decay", 0 <= c.train.average_decay < 1, "in [0, 1)"),
        ("train.weights", c.train.weights in ("best", "last"), "best or last"),
        ("log.every_steps", c.log.every_steps > 0, "positive"),
    ]
    flat = flatten(dataclasses.asdict(c))
    wrong = [f"{key} must be {rule}, not {flat[key]!r}" for key, holds, rule in rules if not holds]
    if wrong:
        raise ConfigError("; ".join(wrong))
