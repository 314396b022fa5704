"""What a Keras model's configuration says beyond its weights, and whether it is this package's.

The weights alone do not tell a stride, an activation or a rescaling. Where a file has the
configuration, its layers must be those of `ocr_model_v1`, in their order; what comes after the last
dense layer (CTC, a softmax, a decoder) does not change what the model reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data.normalization import Standard

_RESCALE = "Rescaling"
# What `keras.export` writes to standardise each picture by itself.
_BY_PICTURE = ("GlobalAveragePooling2D", "Subtract", "LayerNormalization")
_ORDER = re.compile(
    rf"(?:{_RESCALE} )?(?:{' '.join(_BY_PICTURE)} )?"
    r"(?:Conv2D MaxPooling2D )+Reshape Dense (?:Bidirectional )+Dense "
)
_SILENT = ("InputLayer", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise")
# Arguments that must be so where they are given.
_CONV = {
    "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "dilation_rate": [1, 1],
    "groups": 1, "data_format": "channels_last", "activation": "relu", "use_bias": True,
}  # fmt: skip
_POOL = {
    "pool_size": [2, 2], "strides": [2, 2], "padding": "valid", "data_format": "channels_last",
}  # fmt: skip
_LSTM = {
    "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
    "return_sequences": True,
}  # fmt: skip
_NORM = {"axis": [1, 2, 3], "epsilon": 1e-6, "center": False, "scale": False}


class Known(NamedTuple):
    """What the configuration tells; None where it does not."""

    size: tuple[int, int] | None = None  # width and height of the pictures
    standard: Standard | None = None  # how layers before the first convolution rescale pixels


def read(config: str | bytes | None) -> Known:
    """Reads a model's configuration, JSON.

    Raises:
      ValueError: it is none, or has a layer that this package's model has not; it names it.
    """
    if config is None:
        return Known()
    try:
        layers = list(_flat(json.loads(config)))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"its configuration is none of Keras: {error!r}") from error
    size = next((found for kind, section in layers if (found := _size(kind, section))), None)
    layers = [(kind, section) for kind, section in layers if kind not in _SILENT]
    kinds = "".join(f"{kind} " for kind, _ in layers)
    match = _ORDER.match(kinds)
    if not match:
        raise ValueError(f"its layers are {kinds.strip() or 'none'}, not the reference's")
    layers = layers[: match[0].count(" ")]
    standard = None
    for kind, section in layers:
        name = f"{kind} {section.get('name', '')!r}"
        if kind == _RESCALE:
            standard = _standard(section)
        elif kind == "Conv2D":
            _require(name, section, _CONV)
        elif kind == "MaxPooling2D":
            _require(name, section, _POOL)
        elif kind == "LayerNormalization":
            _require(name, section, _NORM)
            standard = (standard or Standard((0.0,), (1.0,), False))._replace(each_picture=True)
        elif kind == "Bidirectional":
            _require(name, section, {"merge_mode": "concat"})
            for key, backwards in (("layer", False), ("backward_layer", True)):
                cell = section.get(key) or section["layer"]
                if cell["class_name"] != "LSTM":
                    raise ValueError(f"{name} is of {cell['class_name']}, not of LSTM")
                given = key in section
                wanted = {**_LSTM, "go_backwards": backwards} if given else _LSTM
                _require(name, cell["config"], wanted)
    dense = [section for kind, section in layers if kind == "Dense"]
    for section, allowed in zip(dense, (("relu",), ("softmax", "linear", None)), strict=True):
        if _plain(section.get("activation")) not in allowed:
            raise ValueError(
                f"Dense {section.get('name', '')!r} has the activation {section['activation']!r}, "
                f"not {allowed[0]!r}"
            )
    return Known(size, standard)


def _flat(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Layers as class name and configuration, those of models within the model in their place."""
    layers = model["config"]["layers"] if isinstance(model["config"], dict) else model["config"]
    for layer in layers:
        if layer["class_name"] in ("Sequential", "Functional", "Model"):
            yield from _flat(layer)
        else:
            yield layer["class_name"], layer["config"]


def _size(kind: str, section: Mapping[str, Any]) -> tuple[int, int] | None:
    shape = section.get("batch_shape") or section.get("batch_input_shape") or []
    if len(shape) == 4 and all(isinstance(n, int) and n > 0 for n in shape[1:3]):
        return int(shape[1]), int(shape[2])
    return None


def _standard(section: Mapping[str, Any]) -> Standard:
    """Of x scale + offset."""
    scale, offset = np.broadcast_arrays(
        np.array(section["scale"], float, ndmin=1), np.array(section["offset"], float)
    )
    if scale.ndim != 1 or len(scale) > 4 or not (np.abs(scale) > 1e-30).all():
        raise ValueError(f"it rescales pixels by {section['scale']} and {section['offset']}")
    return Standard(tuple((-offset / scale).tolist()), tuple((1 / scale).tolist()), False)


def _require(name: str, section: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if key in section and _plain(section[key]) != value:
            raise ValueError(f"{name} has {key} {section[key]!r}, not {value!r}")


def _plain(value: Any) -> Any:
    """A function of Keras 3 by its name, a pair as a list."""
    if isinstance(value, dict):
        value = value.get("config")
    return list(value) if isinstance(value, tuple) else value
