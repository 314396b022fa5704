import dataclasses
import json
import re
from typing import Any

import pytest
from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax.errors import ConfigError
from experiments import base, tiny


def _with(**overrides: Any) -> Any:
    values = base.get_config().to_dict()
    for key, value in overrides.items():
        *section, name = key.split("__")
        (values[section[0]] if section else values)[name] = value
    return ConfigDict(values)


@pytest.mark.parametrize("experiment", [base, tiny])
def test_experiments_are_valid_and_survive_json(experiment: Any) -> None:
    config = config_lib.from_config_dict(experiment.get_config())
    plain = json.loads(json.dumps(config_lib.to_dict(config)))
    assert config_lib.from_dict(plain) == config


def test_every_key_declares_a_default_in_its_range_and_a_meaning() -> None:
    assert config_lib.from_dict(config_lib.defaults()) == config_lib.Config()
    sections = [config_lib.Config, *(type(v) for v in vars(config_lib.Config()).values())]
    fields = [f for s in sections if dataclasses.is_dataclass(s) for f in dataclasses.fields(s)]
    keys = [f for f in fields if not dataclasses.is_dataclass(getattr(f, "default_factory", None))]
    assert len(keys) == len(list(config_lib.declared_keys()))
    for field in keys:
        assert field.metadata["meaning"].endswith((".", "...")), field.name


def test_config_is_frozen_and_hashable() -> None:
    config = config_lib.from_config_dict(base.get_config())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]  # which it refuses
    assert hash(config) == hash(config_lib.from_config_dict(base.get_config()))


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("optimizer.learning_rat", "optimizer.learning_rate"),
        ("optimiser.momentum", "optimizer.momentum"),
        ("train.dropout", "model.dropout"),
        ("sed", "seed"),
    ],
)
def test_a_misspelt_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {nearest}"):
        config_lib.check_key(key)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.standardise", "data.normalize"),
        ("train.average_decay", "train.ema_decay"),
        ("train.least_steps", "train.min_steps_per_epoch"),
        ("train.weights", "train.checkpoint_selection"),
    ],
)
def test_a_renamed_key_names_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"{old} was renamed to {new}"):
        config_lib.check_key(old)
    with pytest.raises(ConfigError, match=f"{old} was renamed to {new}"):
        config_lib.with_changes(config_lib.defaults(), {old: 0})


def test_the_door_refuses_a_key_too_many_and_a_key_too_few() -> None:
    with pytest.raises(ConfigError, match=r"did you mean data\.width"):
        config_lib.from_config_dict(_with(data__widht=3))
    values = base.get_config()
    del values.model.dropout
    with pytest.raises(ConfigError, match=r"no value for model\.dropout"):
        config_lib.from_config_dict(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "one"),
        ("seed", True),
        ("data__width", 200.0),
        ("data__dir", None),
        ("model__lstm_units", (64, 0.5)),
        ("model", 3),
    ],
)
def test_a_value_of_the_wrong_type_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key.replace("__", r"\.")):
        config_lib.from_config_dict(_with(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("data__split_seed", -1),
        ("data__channels", 2),
        ("data__source", "web"),
        ("data__count", 1),
        ("data__synthetic_seed", -1),
        ("data__generated_share", 1.0),
        ("data__case", "Lower"),
        ("data__merge", "0O,1"),
        ("data__merge", "0O,OQ"),
        ("data__merge", "ab" * 2**12),
        ("data__normalize", "each"),
        ("data__val_fraction", -0.1),
        ("data__val_fraction", 1.0),
        ("data__num_folds", 1),
        ("data__fold", 1),
        ("data__train_size", -1),
        ("data__test_size", -1),
        ("data__width", 3),
        ("data__height", 3),
        ("model__conv_features", ()),
        ("model__conv_features", (0,)),
        ("model__pool", "2x2 3x2"),
        ("model__pool", "2x2"),
        ("model__pool", "2x2 2x2 "),
        ("model__dense_features", 0),
        ("model__lstm_units", ()),
        ("model__dropout", 1.0),
        ("model__lstm_dropout", -0.1),
        ("model__norm", "batch"),
        ("model__cell", "rnn"),
        ("optimizer__name", "lion"),
        ("optimizer__learning_rate", 0.0),
        ("loss__entropy", -0.1),
        ("optimizer__momentum", 1.0),
        ("optimizer__clip_norm", -1.0),
        ("optimizer__warmup_steps", -1),
        ("optimizer__schedule", "linear"),
        ("flat_start__until", 1.5),
        ("flat_start__max_steps", 0),
        ("flat_start__fade_steps", 0),
        ("flat_start__trim", 0.5),
        ("train__batch_size", 0),
        ("train__eval_batch_size", 0),
        ("train__epochs", 0),
        ("train__stop_after", -1),
        ("train__patience", -1),
        ("train__min_confidence", -0.1),
        ("train__min_confidence", 1.1),
        ("train__ema_decay", 1.0),
        ("train__checkpoint_selection", "first"),
        ("augment__shift", -0.1),
        ("augment__rotate", -1.0),
        ("augment__scale", 1.0),
        ("augment__shear", -0.1),
        ("augment__ripple", -0.1),
        ("augment__thickness", 1.1),
        ("augment__lines", -1),
        ("augment__blur", 1.1),
        ("augment__contrast", 1.1),
        ("augment__brightness", 1.1),
        ("augment__noise", -0.1),
        ("log__every_steps", 0),
    ],
)
def test_a_value_out_of_range_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key.replace("__", r"\.")):
        config_lib.from_config_dict(_with(**{key: value}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # Activations of an image: 200 x 50 pixels, their 32 features, 100 x 25 with 64, 50 steps
        # of 64, and ten times 128 and 64 units: 589,200. Of 2^30, that is 1,822.
        ({"train.eval_batch_size": 65536}, "eval_batch_size must be at most 1822 .*, not 65536"),
        ({"train.batch_size": 1823}, "train.batch_size and .* at most 1822 .*, not 1823"),
        # 9 * 32 + 9 * 32 * 64 + 12 * 64 * 64 before the LSTM, and 8 * 8000 * (64 + 8000) in it.
        ({"model.lstm_units": (8000,)}, "at most 268435456 parameters, not 516163872"),
    ],
)
def test_a_model_and_batches_that_need_too_much_memory_are_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        config_lib.from_changes(changes)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(a", "it is not a valid regular expression: missing )"),
        ("[a-z]+", "it has no group; put parentheses"),
        ("(a)(b)", "it has 2 groups"),
        ("(a+)+b", "it repeats a group"),  # 2**n steps
        ("(?:a|aa)*(b)", "it repeats a group"),
        ("(?:a+){9}(b)", "it repeats a group"),  # a+a+a+a+a+a+a+a+a+
        ("(?:a?){9}(b)", "it repeats a group"),
        ("(?:a{1,9}){9}(b)", "it repeats a group"),
        ("(?:a|aa){9}(b)", "it repeats a group"),
        ("(?:a){2,}(b)", "it repeats a group"),
        ("(?:(?:a){9}){9}(b)", "it repeats a group"),
        ("([a-z]){4}", "it repeats a group"),  # the label would be one letter
        ("(" + "a?" * 5 + ")", "it has 5 of"),
        ("(?x)(a+) *b", "it has a comment or the flag x"),  # (a+)*b
        ("(?i:(?ix:(a+) *b))", "it has a comment or the flag x"),
        ("(a+)(?#[)*]", "it has a comment or the flag x"),  # (a+)*], with [ in the comment
    ],
)
def test_the_rule_that_a_label_pattern_breaks_is_named(pattern: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.label_pattern must be .*: {re.escape(fault)}"):
        config_lib.from_config_dict(_with(data__label_pattern=pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        r"\d+_(.+?)",
        "(?:img|pic)_([a-z]+)",
        r"([^_]*)\(\d+\)",
        "(?:a)(?:b)(?:c)(?:d)(?:e)(f)",
        r"^x_([a-z0-9]+)(?:_\d+)?$",
        "(?:a+)??(?P<x>b)",
        r"^(?:\d{4}-){2}(.+)",
    ],
)
def test_patterns_that_take_bounded_time_are_accepted(pattern: str) -> None:
    config = config_lib.from_config_dict(_with(data__label_pattern=pattern))
    assert config.data.label_pattern == pattern


def test_a_stream_has_no_test_part() -> None:
    with pytest.raises(ConfigError, match=r"data\.test_size must be 0 with data\.source=stream"):
        config_lib.from_config_dict(_with(data__test_size=5, data__source="stream"))


@pytest.mark.parametrize(
    "changes", [{"data__fold": 2, "data__num_folds": 3}, {"data__train_size": 5}]
)
def test_a_stream_is_not_divided(changes: dict[str, int]) -> None:
    config_lib.from_config_dict(_with(**changes))
    with pytest.raises(ConfigError, match=r"train_size must be 0 with data\.source=stream"):
        config_lib.from_config_dict(_with(**changes, data__source="stream"))


def test_a_tracker_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"log\.trackers must be a tuple of at most 4 of tensorb"):
        config_lib.from_config_dict(_with(log__trackers=("tensorboard", "wandbx")))


def test_whole_numbers_serve_as_floats() -> None:
    assert config_lib.from_config_dict(_with(model__dropout=0)).model.dropout == 0.0


def test_time_steps_are_the_width_halved_by_each_pooling() -> None:
    assert config_lib.num_steps(config_lib.from_config_dict(base.get_config())) == 50
    config = config_lib.from_config_dict(_with(data__width=103, model__conv_features=(8, 8, 8)))
    assert config_lib.num_steps(config) == 12


def test_the_width_can_be_written_as_auto_in_python() -> None:
    assert config_lib.from_changes({"data.width": "auto"}).data.width == 0


@pytest.mark.parametrize("config", [None, "folder", 3])
def test_what_is_no_config_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match="a config must be a Config, a ConfigDict, or changes"):
        config_lib.from_changes(config)


@pytest.mark.parametrize("key", ["data.dir", "grid.seeds"])
def test_a_dotted_key_is_not_ignored(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} belongs in the section {key[:4]}"):
        config_lib.from_dict({**config_lib.defaults(), key: "folder"})


def test_an_automatic_width_can_be_written_out() -> None:
    values = config_lib.with_changes(config_lib.defaults(), {"data.width": "auto"})
    assert config_lib.from_dict(values).data.width == 0


def test_a_stream_has_no_folds() -> None:
    values = config_lib.with_changes(
        config_lib.defaults(), {"data.source": "stream", "data.num_folds": 10}
    )
    with pytest.raises(ConfigError, match=r"data\.num_folds, data\.fold and data\.train_size"):
        config_lib.from_dict(values)
