"""In from Keras and out to it: weights of `ocr_model_v1` to a run, and a run to .keras."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax import standard as standard_lib
from crnn_jax.errors import RunError
from crnn_jax.interop import description as description_lib
from crnn_jax.interop import imported, keras_file
from crnn_jax.recognizer import Recognizer

FILE = "model.keras"
UNKNOWN = "\ufffd"  # stands for the class [UNK] of Keras' StringLookup, if the model has it


def import_run(
    file: str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    values: Mapping[str, Any],
    alphabet: str | None,
    blank: str,
) -> str:
    """Writes a run directory that evaluates, predicts and is trained on with train.init_from.

    Args:
      file: of Keras.
      workdir: a new directory.
      values: the base configuration as plain values; what the file says takes its place.
      alphabet: the symbols in the order of the model's classes; None where this package wrote
        the file, which names them then.
      blank: 'last' or 'first', which class of the model is the blank.

    Returns:
      The alphabet of the run: that given, after UNKNOWN if the model has a class for it.

    Raises:
      RunError: the file or the directory is of no use, or sizes or alphabet do not fit.
    """
    file = os.fspath(file)
    model = keras_file.read(file)
    known = model.description and description_lib.parse(model.description, file)
    if known:
        if alphabet not in (None, known.alphabet) or blank != "last":
            raise RunError(
                f"{file} has the alphabet {known.alphabet!r} and the blank last, not {alphabet!r} "
                f"and {blank}; leave both out"
            )
        alphabet = known.alphabet
    if alphabet is None:
        raise RunError(f"{file} names no symbols: give them with --alphabet, in their order")
    symbols = model.num_classes - 1
    if len(alphabet) + 1 == symbols:
        alphabet = UNKNOWN + alphabet
    if len(alphabet) != symbols:
        raise RunError(
            f"{file} has {model.num_classes} classes, for {symbols} symbols and a blank, or "
            f"{symbols - 1} besides [UNK]; the alphabet {alphabet!r} has {len(alphabet)}"
        )
    width, height = model.size or (values["data"]["width"], values["data"]["height"])
    if height >> len(model.conv_features) != model.rows:
        raise RunError(
            f"{file} takes pictures whose height is {model.rows} after "
            f"{len(model.conv_features)} poolings, which {height} is not; give --height"
        )
    # The example itself takes pixels / 255.
    standard = model.standard or standard_lib.plain(model.channels)
    if len(standard.mean) == 1:
        standard = standard._replace(
            mean=standard.mean * model.channels, deviation=standard.deviation * model.channels
        )
    changes = {
        "data.width": width,
        "data.height": height,
        "data.channels": model.channels,
        "data.alphabet": alphabet,
        "data.standardise": "",
        "model.conv_features": model.conv_features,
        "model.dense_features": model.dense_features,
        "model.lstm_units": model.lstm_units,
    }
    config = config_lib.from_dict(config_lib.with_changes(values, changes))
    if blank == "first":
        for name, array in model.params["dense2"].items():
            model.params["dense2"][name] = np.roll(array, -1, axis=-1)
    if known:
        description_lib.check_digest(model.params, known, file)
    imported.write(
        workdir,
        config,
        alphabet,
        known.standard if known else standard,
        model.params,
        known.fingerprint if known else "",
        file,
        known.result if known else None,
    )
    return alphabet


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of the export by name: a model that Keras 3 loads; needs Keras, of any backend.

    It is the example's: pixels [B, W, H, C], 0 to 255, to a softmax over the classes, [B, T, K].
    What standardises pixels here are layers there, so that nothing of this package is needed.

    Raises:
      RunError: the model has a layer that is not exported.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers

    config, data, standard = reader.config.model, reader.config.data, reader.model
    if config.norm or config.cell != "lstm":
        raise RunError(
            f"a model of model.norm {config.norm!r} and model.cell {config.cell!r} cannot be "
            "exported to Keras; only the reference's layers can"
        )
    mean, deviation = np.array(standard.mean), np.array(standard.deviation)
    x = inputs = layers.Input((data.width, data.height, data.channels), name="image")
    x = layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist())(x)
    if standard.each_picture:
        average = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Subtract()([x, average])
        x = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-6, center=False, scale=False)(x)
    for i, features in enumerate(config.conv_features, 1):
        x = layers.Conv2D(features, 3, activation="relu", padding="same", name=f"Conv{i}")(x)
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
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
        archive.writestr(description_lib.FILE, description_lib.to_json(description))
    return {FILE: content.getvalue()}
