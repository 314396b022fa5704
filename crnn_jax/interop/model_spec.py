"""The description of an exported model, reader.json: what a program needs to use the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crnn_jax import __version__, bidi, clusters
from crnn_jax import config as config_lib
from crnn_jax.config import Config, DataConfig, ModelConfig
from crnn_jax.errors import RunError
from crnn_jax.inference.exported import FORMAT, digest
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn


def describe(reader: Recognizer) -> dict[str, Any]:
    """Describes a reader and, if it is known, the result of its run, as plain values for JSON."""
    result, data, model = reader.result, reader.config.data, reader.model
    if result:
        result = dataclasses.replace(result, data_name=_utf8(result.data_name))
    classes = None
    if data.direction == bidi.RIGHT_TO_LEFT:
        classes = [clusters.bidirectional_class(symbol) for symbol in reader.charset.symbols]
    values = {
        "format": FORMAT,
        "version": __version__,
        "alphabet": list(reader.charset.symbols),  # the symbols of classes 0, 1, ...
        # ltr: texts are in the order of the classes. rtl: they are reordered, see crnn_jax/bidi.py.
        "direction": data.direction,
        # For rtl: the bidirectional class of each symbol (Unicode's property Bidi_Class).
        "bidi_classes": classes,
        "blank": reader.charset.blank,  # the class of the CTC blank
        # Each has an output of the last layer after the blank. Its probability is added to that
        # of the same letter in the case of the alphabet. Part of the exported model, except in
        # safetensors.
        "other_cases": reader.charset.split(reader.charset.other_cases),
        "input": _input(data),
        # Whether this package chooses a width for each image instead, see data/input_width.py.
        "width_by_image": reader.width_by_image,
        "standardise": {  # part of the exported model, except in safetensors
            "mean": model.mean.tolist(),  # per channel: (pixel - mean) / deviation
            "deviation": model.std.tolist(),
            "each_picture": model.per_image,  # then each image by its own mean and deviation
        },
        "output": {
            "axes": ["batch", "step", "class"],
            "steps": config_lib.num_steps(reader.config),
            "classes": reader.charset.num_classes,
        },
        # Characters of a text, such as 5 or 4-6; empty for any.
        "length": data.length if data.lengths else "",
        "temperature": reader.temperature,  # divides the logits before the softmax
        # Mean and deviation of the energy of typical images, see inference/typicality.py.
        "typicality": list(reader.typical) if reader.typical else None,
        "params_sha256": crnn.params_sha256(reader.params),
        "fingerprint": reader.fingerprint,  # of the training data
        "result": dataclasses.asdict(result) if result else None,
        "config": config_lib.to_dict(_portable(reader.config)),
    }
    return {**values, "digest": digest(values)}


def _input(data: DataConfig) -> dict[str, Any]:
    """Describes how an image becomes the input of the model."""
    return {
        "axes": ["batch", "width", "height", "channel"],  # image columns come first
        "size": {"width": data.width, "height": data.height},  # pixels
        "channels": "grey" if data.channels == 1 else "red, green, blue",
        "grey": "(19595 red + 38470 green + 7471 blue + 32768) // 65536",  # as Pillow's L
        "range": [0, 255],  # the upper 8 of the bits that a 16-bit image uses
        "frame": data.frame,  # of an animation, as in the config; empty: animations are refused
        "upright": "by its EXIF orientation",
        # Black if it shows in the transparency alone: see data/pixel_formats.py.
        "transparency": "on white",
        # Before resizing: data/crop.py and its JavaScript version in page/reader.js.
        "crop": "to the text" if data.crop else "none",
        "resize": "bilinear with antialiasing, over a support that grows with the reduction",
    }


def to_json(description: Mapping[str, Any]) -> str:
    """Formats a description as the content of reader.json."""
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def require_lstm(reader: Recognizer, kind: str) -> None:
    """Raises RunError if the recurrent layers are not LSTM layers."""
    if (cell := reader.config.model.cell) != "lstm":
        raise RunError(f"a model with model.cell {cell!r} cannot be exported to {kind}")


def are_reference_layers(model: ModelConfig) -> bool:
    """Whether the layers are of the kinds of the reference model, of any number and size."""
    return model.cell == "lstm" and not model.norm and set(model.pools) == {(2, 2)}


def require_reference_layers(reader: Recognizer, kind: str) -> None:
    """Raises RunError if the model has other layers than the reference model."""
    require_lstm(reader, kind)
    config = reader.config.model
    if not are_reference_layers(config):
        raise RunError(
            f"a model with model.norm {config.norm!r} and model.pool {config.pool!r} cannot be "
            f"exported to {kind}, which takes the layers of the reference model only; export it to "
            "onnx, web, stablehlo or safetensors"
        )
    if reader.charset.other_cases:
        raise RunError(
            f"a model that recognizes letters in both cases cannot be exported to {kind}; export "
            "it to onnx, web, stablehlo or safetensors, or train with "
            "--config.train.detect_case=False"
        )


def _portable(config: Config) -> Config:
    """Returns the config without paths of this machine."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            dir=_utf8(Path(config.data.dir).name),
            val_dir=_utf8(Path(config.data.val_dir).name),
            style=_utf8(Path(config.data.style).name),
            use_labels=True,
            unlabeled="",
        ),
        train=dataclasses.replace(config.train, init_from=""),
    )


def _utf8(name: str) -> str:
    """Replaces bytes in a file name that are not UTF-8, which other programs cannot read."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
