"""Configs that older versions wrote, as today's have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crnn_jax.config_keys import RENAMED

# Keys that came later, with what a run did before there was a choice.
CAME: Mapping[str, Any] = {
    "data.source": "folder",
    "data.style": "captcha_v2",
    "data.count": 1040,
    "data.synthetic_seed": 0,
    "data.generated_share": 0.5,
    "data.case": "keep",
    "data.complete_alphabet": False,
    "data.crop": False,
    "data.min_val_size": 0,
    "data.unlabeled": "",
    "data.use_labels": True,
    "data.merge": "",
    "data.label_pattern": "",
    "data.test_size": 0,
    "log.tensorboard": False,
    "model.pool": "",
    "train.min_steps_per_epoch": 0,
    "train.init_from": "",
    "train.min_confidence": 0.9,
    "train.passes_per_epoch": 1,
}
# Removed keys, with the value that turned them off. A record with another value cannot be read,
# because its code is gone.
WENT: Mapping[str, Any] = {"loss.consistency": 0.0, "loss.inner": 0.0}
# Values of renamed keys that have another name too, by the old name of the key.
RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {"data.standardise": {"picture": "image"}}


def up_to_date(values: Mapping[str, Any]) -> dict[str, Any]:
    """The nested plain values of a `config.json`, with the names of today.

    An old key is left in place, so that parsing reports it, in two cases: it was removed and was
    not off, or it was renamed and the new name is there too.
    """
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for old, new in RENAMED.items():
        section, _, name = old.rpartition(".")
        inner, new_name = result.get(section), new.rpartition(".")[2]
        if isinstance(inner, dict) and name in inner and new_name not in inner:
            value = inner.pop(name)
            if isinstance(value, str):
                value = RENAMED_VALUES.get(old, {}).get(value, value)
            inner[new_name] = value
    for key, value in CAME.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict):
            result[section].setdefault(name, value)
    for key, off in WENT.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict) and result[section].get(name) == off:
            del result[section][name]
    return result
