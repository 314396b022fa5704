"""Imports the weights of Keras' `ocr_model_v1` as a run, and exports a run to .keras."""

from __future__ import annotations

import dataclasses
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data import normalization
from crnn_jax.errors import ConfigError, RunError, brief
from crnn_jax.inference import exported
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import FORMATS, imported_run, keras_file, model_spec

FILE = FORMATS["keras"]
UNKNOWN = "\ufffd"  # the symbol for the class [UNK] of Keras' StringLookup


def import_run(
    file: str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    values: Mapping[str, Any],
    alphabet: str | None = None,
    blank: str = "last",
    size: tuple[int | None, int | None] = (None, None),
) -> Config:
    """Writes a run directory for evaluation, prediction and training with train.init_from.

    Args:
      file: .h5, .weights.h5 or .keras.
      workdir: a new directory.
      values: the base configuration as plain values; the file's values replace them.
      alphabet: the symbols in the order of the model's classes; None if this package exported the
        file, which then contains them.
      blank: 'last' or 'first': the position of the model's blank class.
      size: width and height of the images, if the file does not contain them.

    Returns:
      The run's configuration. Its alphabet starts with UNKNOWN if the model has a class for it.

    Raises:
      RunError: the file or the directory cannot be used, or sizes or alphabet do not fit.
    """
    file = os.fspath(file)
    model = keras_file.read(file)
    if model.description:
        parsed = exported.parse(model.description, file)
        return _import_described(file, workdir, model, parsed, (alphabet, blank, *size))
    return _import_plain(file, workdir, model, values, alphabet, blank, size)


def _import_described(
    file: str,
    workdir: str | os.PathLike[str],
    model: keras_file.Model,
    parsed: exported.Parsed,
    requested: tuple[str | int | None, ...],
) -> Config:
    """Imports a file that this package exported. `requested`: alphabet, blank, width and height."""
    data = dataclasses.replace(parsed.config.data, alphabet=parsed.charset.alphabet)
    there = (parsed.charset.alphabet, "last", data.width, data.height)
    names = ("--alphabet", "--blank", "--width", "--height")
    for name, known, wanted in zip(names, there, requested, strict=True):
        if wanted not in (None, known):
            raise RunError(f"{name} is {wanted!r}, but {file} contains {known!r}; omit {name}")
    parsed.check_digest(model.params, file)
    config = dataclasses.replace(parsed.config, data=data)
    imported_run.write_exported(workdir, parsed._replace(config=config), model.params, file)
    return config


def _import_plain(
    file: str,
    workdir: str | os.PathLike[str],
    model: keras_file.Model,
    values: Mapping[str, Any],
    alphabet: str | None,
    blank: str,
    size: tuple[int | None, int | None],
) -> Config:
    """Imports a file of Keras, which has weights and sizes, but no symbols."""
    alphabet = _alphabet(model, alphabet, file)
    width, height = _size(model, size, values["data"], file)
    # The Keras example reads pixels / 255.
    moments = model.normalization or normalization.plain(model.channels)
    if len(moments.mean) == 1:
        moments = moments._replace(
            mean=moments.mean * model.channels, std=moments.std * model.channels
        )
    changes = {
        "data.width": width,
        "data.height": height,
        "data.channels": model.channels,
        "data.alphabet": alphabet,
        "data.normalize": "",
        "model.conv_features": model.conv_features,
        "model.dense_features": model.dense_features,
        "model.lstm_units": model.lstm_units,
    }
    try:
        config = config_lib.from_dict(config_lib.with_changes(values, changes))
    except ConfigError as error:
        raise RunError(f"{file} cannot be imported: {brief(error)}") from error
    if blank == "first":
        for name, array in model.params["dense2"].items():
            model.params["dense2"][name] = np.roll(array, -1, axis=-1)
    charset = Charset(alphabet, marks=config.data.marks)
    imported_run.write(workdir, config, charset, moments, model.params, "", file)
    return config


def _alphabet(model: keras_file.Model, given: str | None, file: str) -> str:
    """Returns the alphabet of the run."""
    symbols = model.num_classes - 1
    if given is None:
        raise RunError(
            f"{file} does not contain its {symbols} symbols: give --alphabet, in class order"
        )
    alphabet = UNKNOWN + given if len(given) + 1 == symbols else given
    if len(alphabet) != symbols:
        raise RunError(
            f"{file} has {model.num_classes} classes, for {symbols} symbols and a blank, or "
            f"{symbols - 1} symbols, [UNK] and a blank; the alphabet {given!r} has {len(given)}"
        )
    return alphabet


def _size(
    model: keras_file.Model,
    given: tuple[int | None, int | None],
    data: Mapping[str, Any],
    file: str,
) -> tuple[int, int]:
    """Returns width and height of the images: from the file, else `given`, else the base config."""
    sizes = []
    for name, known, wanted in zip(
        ("width", "height"), model.size or (None, None), given, strict=True
    ):
        if known and wanted is not None and known != wanted:
            raise RunError(f"{file} reads images of {name} {known}, not {wanted}")
        sizes.append(known or (data[name] if wanted is None else wanted))
    width, height = sizes
    poolings = len(model.conv_features)
    if height >> poolings != model.rows:
        swapped = " (the width fits)" if width >> poolings == model.rows else ""
        raise RunError(
            f"{file} reads images whose height is {model.rows} after {poolings} poolings, which "
            f"does not fit {height}{swapped}; give the height with --height. The first axis of the "
            "model's input must be the width"
        )
    return width, height


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """Exports a model for Keras 3. Needs Keras, with any backend.

    The model is that of the example: pixels [B, W, H, C], 0 to 255, to a softmax over the classes,
    [B, T, K]. Normalization is exported as layers, so the export does not need this package.

    Returns:
      The files of the export by name.

    Raises:
      RunError: the model has a layer that cannot be exported.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers

    model_spec.require_reference_layers(reader, "Keras")
    config, data = reader.config.model, reader.config.data
    axes = "channels_last"  # explicit, since the user's Keras settings may differ
    mean, std = np.asarray(reader.model.mean), np.asarray(reader.model.std)
    x = inputs = layers.Input((data.width, data.height, data.channels), name="image")
    x = layers.Rescaling((1 / std).tolist(), (-mean / std).tolist())(x)
    if reader.model.per_image:
        mean_of_image = layers.GlobalAveragePooling2D(data_format=axes, keepdims=True)(x)
        x = layers.Subtract()([x, mean_of_image])
        x = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-6, center=False, scale=False)(x)
    for i, features in enumerate(config.conv_features, 1):
        x = layers.Conv2D(
            features, 3, activation="relu", padding="same", data_format=axes, name=f"Conv{i}"
        )(x)
        x = layers.MaxPooling2D(data_format=axes, name=f"pool{i}")(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name="reshape")(x)
    x = layers.Dense(config.dense_features, activation="relu", name="dense1")(x)
    x = layers.Dropout(config.dropout)(x)
    for i, units in enumerate(config.lstm_units):
        cell = layers.LSTM(units, return_sequences=True, dropout=config.lstm_dropout)
        x = layers.Bidirectional(cell, name=f"bidirectional_{i}" if i else "bidirectional")(x)
    x = layers.Dense(reader.charset.num_classes, activation="softmax", name="dense2")(x)
    model = keras.Model(inputs, x, name="ocr_model_v1")
    for layer, arrays in reader.params.items():
        ways = ("forward_", "backward_") if len(arrays) > 2 else ("",)
        order = [way + name for way in ways for name in keras_file.ARRAYS if way + name in arrays]
        model.get_layer(layer).set_weights([np.asarray(arrays[name]) for name in order])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        model.save(path)
        content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(exported.FILE, model_spec.to_json(description))
    return {FILE: content.getvalue()}
