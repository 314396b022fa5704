"""Translates configs of older versions to the current keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crnn_jax.config.suggestions import RENAMED

# Keys that were added later, with the value that older runs had implicitly.
ADDED: Mapping[str, Any] = {
    "data.source": "folder",
    "data.style": "captcha_v2",
    "data.count": 1040,
    "data.synthetic_seed": 0,
    "data.generated_share": 0.5,
    "data.allow_empty": False,
    "data.case": "keep",
    "data.complete_alphabet": False,
    "data.crop": False,
    "data.direction": "ltr",
    "data.frame": "",
    "data.memory_limit": 0.0,
    "data.min_val_size": 0,
    "data.unlabeled": "",
    "data.use_labels": True,
    "data.marks": "separate",
    "data.merge": "",
    "data.label_pattern": "",
    "data.length": "",
    "data.test_size": 0,
    "data.val_dir": "",
    "data.workers": 1,
    "log.trackers": (),
    "model.pool": "",
    "optimizer.trust_ratio": False,
    "train.detect_case": False,
    "train.epochs_for_new_symbols": 0,
    "train.half_rate_labels": 0,
    "train.half_way_labels": 0,
    "train.min_steps": 0,
    "train.min_steps_per_epoch": 0,
    "train.init_from": "",
    "train.min_confidence": 0.9,
    "train.passes_per_epoch": 1,
}
# Removed keys, with the value that turned them off. A record with another value cannot be read,
# because the code for it was removed.
REMOVED: Mapping[str, Any] = {"loss.consistency": 0.0, "loss.inner": 0.0}
# Values that were renamed together with their key, by the old name of the key.
RENAMED_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "data.standardise": {"picture": "image"},
    "log.tensorboard": {False: (), True: ("tensorboard",)},
}


def up_to_date(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested plain values of a `config.json`, with the current names.

    In two cases an old key is left in place, so that parsing reports it: the key was removed and
    its value did not turn it off, or it was renamed and the new name is present too.
    """
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for old, new in RENAMED.items():
        section, _, name = old.rpartition(".")
        inner, new_name = result.get(section), new.rpartition(".")[2]
        if isinstance(inner, dict) and name in inner and new_name not in inner:
            value = inner.pop(name)
            if isinstance(value, str | bool):
                value = RENAMED_VALUES.get(old, {}).get(value, value)
            inner[new_name] = value
    for key, value in ADDED.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict):
            result[section].setdefault(name, value)
    for key, off in REMOVED.items():
        section, _, name = key.rpartition(".")
        if isinstance(result.get(section), dict) and result[section].get(name) == off:
            del result[section][name]
    return result
