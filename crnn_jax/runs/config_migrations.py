"""Configs that older versions wrote, as today's have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keys that came later, with what a run did before there was a choice.
CAME: Mapping[str, Any] = {
    "data.source": "folder",
    "data.style": "captcha_v2",
    "data.count": 1040,
    "data.synthetic_seed": 0,
    "data.generated_share": 0.5,
    "data.case": "keep",
    "data.crop": False,
    "data.merge": "",
    "data.label_pattern": "",
    "data.test_size": 0,
    "log.tensorboard": False,
    "model.pool": "",
    "train.least_steps": 0,
    "train.init_from": "",
}
# Keys that went, with the value that turned them off: of any other the code is gone.
WENT: Mapping[str, Any] = {"loss.consistency": 0.0, "loss.inner": 0.0}


def up_to_date(values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested plain values of a `config.json`; a key that went and was on stays, to be named."""
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for key, value in CAME.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict):
            result[section].setdefault(name, value)
    for key, off in WENT.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict) and result[section].get(name) == off:
            del result[section][name]
    return result
