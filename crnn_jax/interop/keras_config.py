"""Checks that a Keras model's configuration is that of `ocr_model_v1`, and reads its input.

Strides, activations and rescaling cannot be seen in the weights. If a file has the configuration,
its layers must be those of `ocr_model_v1`, in the same order. Layers after the last dense layer
(CTC, a softmax, a decoder) do not change what the model reads and are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.data.normalization import Normalization

_RESCALE = "Rescaling"
# The layers that `keras.export` writes to normalize each image by itself.
_PER_IMAGE = ("GlobalAveragePooling2D", "Subtract", "LayerNormalization")
_ORDER = re.compile(
    rf"(?:{_RESCALE} )?(?:{' '.join(_PER_IMAGE)} )?"
    r"(?:Conv2D MaxPooling2D )+Reshape Dense (?:Bidirectional )+Dense "
)
_IGNORED = (  # do nothing at prediction time
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
)
# Required values of a layer's arguments, if the configuration gives them.
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
    """Properties from the configuration; None if it does not contain them."""

    size: tuple[int, int] | None = None  # width and height of the images
    normalization: Normalization | None = None  # computed by the layers before the convolutions


def read(config: str | bytes | None) -> Known:
    """Reads a model's configuration, given as JSON.

    Raises:
      ValueError: it is not a Keras configuration, or differs from this package's model; the
        message names the layer.
    """
    if config is None:
        return Known()
    try:
        layers = list(_flat(json.loads(config)))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"its configuration is not that of a Keras model: {error!r}") from error
    size = next((found for _, settings in layers if (found := _size(settings))), None)
    layers = [(kind, settings) for kind, settings in layers if kind not in _IGNORED]
    kinds = "".join(f"{kind} " for kind, _ in layers)
    match = _ORDER.match(kinds)
    if not match:
        raise ValueError(f"its layers are {kinds.strip() or 'none'}, not those of ocr_model_v1")
    layers = layers[: match[0].count(" ")]
    normalization = None
    for kind, settings in layers:
        name = _name(kind, settings)
        if kind == _RESCALE:
            normalization = _normalization(settings)
        elif kind == "Conv2D":
            _require(name, settings, _CONV)
        elif kind == "MaxPooling2D":
            _require(name, settings, _POOL)
        elif kind == "LayerNormalization":
            _require(name, settings, _NORM)
            before = normalization or Normalization((0.0,), (1.0,), False)
            normalization = before._replace(per_image=True)
        elif kind == "Bidirectional":
            _require(name, settings, {"merge_mode": "concat"})
            for key, backwards in (("layer", False), ("backward_layer", True)):
                cell = settings.get(key) or settings["layer"]
                if cell["class_name"] != "LSTM":
                    raise ValueError(f"{name} wraps {cell['class_name']}, not LSTM")
                given = key in settings
                wanted = {**_LSTM, "go_backwards": backwards} if given else _LSTM
                _require(name, cell["config"], wanted)
    dense = [settings for kind, settings in layers if kind == "Dense"]
    for settings, allowed in zip(dense, (("relu",), ("softmax", "linear", None)), strict=True):
        activation = settings.get("activation")
        if _plain(activation) not in allowed:
            name = _name("Dense", settings)
            raise ValueError(f"{name} has the activation {activation!r}, not {allowed[0]!r}")
    return Known(size, normalization)


def _name(kind: str, settings: Mapping[str, Any]) -> str:
    """Names a layer in an error message."""
    return f"{kind} {settings['name']!r}" if "name" in settings else kind


def _flat(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields layers as class name and configuration; nested models are flattened."""
    layers = model["config"]["layers"] if isinstance(model["config"], dict) else model["config"]
    for layer in layers:
        if layer["class_name"] in ("Sequential", "Functional", "Model"):
            yield from _flat(layer)
        else:
            yield layer["class_name"], layer["config"]


def _size(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    shape = settings.get("batch_shape") or settings.get("batch_input_shape") or []
    if len(shape) == 4 and all(isinstance(n, int) and n > 0 for n in shape[1:3]):
        return int(shape[1]), int(shape[2])
    return None


def _normalization(settings: Mapping[str, Any]) -> Normalization:
    """Returns the normalization that a Rescaling layer computes, x * scale + offset."""
    scale, offset = np.broadcast_arrays(
        np.array(settings["scale"], float, ndmin=1), np.array(settings["offset"], float)
    )
    if scale.ndim != 1 or len(scale) > 4 or not (np.abs(scale) > 1e-30).all():
        raise ValueError(f"it rescales pixels by {settings['scale']} and {settings['offset']}")
    return Normalization(tuple((-offset / scale).tolist()), tuple((1 / scale).tolist()), False)


def _require(name: str, settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if key in settings and _plain(settings[key]) != value:
            raise ValueError(f"{name} has {key} {settings[key]!r}, not {value!r}")


def _plain(value: Any) -> Any:
    """Converts a Keras 3 function to its name, and a tuple to a list."""
    if isinstance(value, dict):
        value = value.get("config")
    return list(value) if isinstance(value, tuple) else value
