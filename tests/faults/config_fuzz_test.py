"""Mutated configs and styles: a config, or a ConfigError."""

import dataclasses
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crnn_jax import config as config_lib
from crnn_jax.data.synthetic import presets
from crnn_jax.errors import ConfigError
from experiments import tiny
from tests.helpers.fuzzing import check_message, fuzz, mutated


@fuzz(400)
@given(mutated(tiny.get_config().to_dict()))
def test_configs(values: Any) -> None:
    try:
        config = config_lib.from_dict(values)
    except ConfigError as error:
        check_message(error)
        return
    assert config_lib.from_dict(config_lib.to_dict(config)) == config


STYLES = [
    {k: v for k, v in dataclasses.asdict(style).items() if k != "fonts"}
    for style in presets.STYLES.values()
]


@fuzz(400)
@given(st.sampled_from(STYLES).flatmap(lambda style: mutated({"base": "plain", **style})))
def test_styles(values: Any) -> None:
    try:
        style = presets.from_values(values)
    except ConfigError as error:
        check_message(error)
        return
    flat = json.dumps(dataclasses.asdict(style))
    assert "NaN" not in flat
    assert "Infinity" not in flat
    assert style.width * style.height <= 2**24  # one GB of f32 for
    assert style.length[1] <= 1000
    assert style.curves[1] <= 1000
