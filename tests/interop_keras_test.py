"""Files that Keras 3 itself wrote, and one as Keras 2 writes it, by hand after its layout."""

import json
import shutil

import h5py
import jax
import numpy as np
import pytest

import crnn_jax
from crnn_jax import __main__
from crnn_jax import model as model_lib
from crnn_jax.errors import RunError
from crnn_jax.interop import keras, keras_file
from experiments import base

SYMBOLS = "2345678bcdefgmnpwxy"


@pytest.fixture(scope="module")
def stored(keras_files):
    with np.load(keras_files / "reference.npz") as file:
        return dict(file)


def _weights(stored):
    """{layer: {name: array}}"""
    result: dict[str, dict[str, np.ndarray]] = {}
    for key, value in stored.items():
        if key.startswith("weights/"):
            layer, name = key.removeprefix("weights/").split("/")
            result.setdefault(layer, {})[name] = value
    return result


def _keras_2(path, weights, layers, optimizer=True):
    """A whole model of TF-Keras 2: groups by layer, names with :0, an optimizer besides."""
    with h5py.File(path, "w") as file:
        inputs = [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None]}},  # labels
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 200, 50, 1]}},
        ]
        file.attrs["model_config"] = json.dumps({"config": {"layers": inputs}})
        group = file.create_group("model_weights")
        for layer, name in layers.items():
            for key, array in weights[layer].items():
                direction, _, kind = key.partition("_") if "_" in key else ("", "", key)
                inner = f"{name}/{direction}_lstm_7/lstm_cell_22" if direction else name
                group.create_dataset(f"{name}/{inner}/{kind}:0", data=array)
        group.create_group("ctc_loss")
        if optimizer:
            for layer, name in layers.items():
                for key, array in weights[layer].items():
                    file.create_dataset(f"optimizer_weights/Adam/{name}/{key}/m:0", data=array)


LAYERS = {
    "Conv1": "Conv1", "Conv2": "Conv2", "dense1": "dense1", "bidirectional": "bidirectional_4",
    "bidirectional_1": "bidirectional_5", "dense2": "dense2",
}  # fmt: skip


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5", "some.weights.h5"])
def test_each_kind_of_file_gives_the_same_weights(keras_files, stored, name):
    model = keras_file.read(keras_files / name)
    jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))
    assert (model.conv_features, model.dense_features) == ((32, 64), 64)
    assert (model.lstm_units, model.num_classes, model.channels) == ((128, 64), 20, 1)
    assert model.size == (None if name == "some.weights.h5" else (200, 50))


def test_a_model_of_keras_2_is_known_by_its_layers_and_not_by_their_names(stored, tmp_path):
    names = {**LAYERS, "Conv1": "a", "dense2": "b", "bidirectional_1": "bidirectional_10"}
    for layers in (LAYERS, names):
        _keras_2(tmp_path / "old.h5", _weights(stored), layers)
        model = keras_file.read(tmp_path / "old.h5")
        jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))
        assert model.size == (200, 50)
        (tmp_path / "old.h5").unlink()


def test_what_keras_keeps_besides_weights_is_passed_over(keras_files, stored, tmp_path):
    """As Keras 2.15 writes a model that was trained: the state of its metrics."""
    shutil.copy(keras_files / "some.weights.h5", tmp_path / "some.weights.h5")
    with h5py.File(tmp_path / "some.weights.h5", "a") as file:
        file["metrics/mean/vars/0"] = np.float32(7)
        file["optimizer_2/vars/0"] = np.zeros((3, 3, 1, 32), np.float32)
    model = keras_file.read(tmp_path / "some.weights.h5")
    jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))


def test_an_imported_run_has_keras_logits_and_reads(
    keras_files, stored, captchas, tmp_path, capsys
):
    run = str(tmp_path / "run")
    file = str(keras_files / "whole.keras")
    assert __main__.main(["import-keras", file, "--alphabet", SYMBOLS, "--blank", "last", run]) == 0
    reader = crnn_jax.load(run)
    assert reader.charset.alphabet == SYMBOLS
    # The example's pixels are 255 times ours.
    logits = model_lib.apply(reader.model, reader.params, stored["images"] * 255)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)
    expected = reader.decode_batch_predictions(stored["logits"])
    assert reader.decode_batch_predictions(logits) == expected
    assert len(reader.predict(sorted(captchas.iterdir())[:2])) == 2
    capsys.readouterr()
    assert __main__.main(["import-keras", file, "--alphabet", SYMBOLS, run]) == 2
    assert "already" in capsys.readouterr().err


def _import(file, workdir, alphabet, blank="last", **data):
    values = base.get_config().to_dict()
    values["data"].update(data)
    return keras.import_run(file, workdir, values, alphabet, blank)


def test_a_class_for_unknown_symbols_and_a_blank_in_front_are_put_in_their_place(
    keras_files, stored, tmp_path
):
    file = keras_files / "some.weights.h5"
    # Twenty classes: [UNK], eighteen symbols, and the blank.
    assert _import(file, tmp_path / "a", SYMBOLS[1:]) == keras.UNKNOWN + SYMBOLS[1:]
    assert crnn_jax.load(tmp_path / "a").charset.alphabet == keras.UNKNOWN + SYMBOLS[1:]
    _import(file, tmp_path / "b", SYMBOLS, blank="first")
    logits = [
        np.asarray(model_lib.apply(r.model, r.params, stored["images"] * 255))
        for r in map(crnn_jax.load, (tmp_path / "a", tmp_path / "b"))
    ]
    np.testing.assert_allclose(logits[1], logits[0][..., [*range(1, 20), 0]], atol=1e-5)


def test_what_does_not_fit_is_refused_by_name(keras_files, stored, tmp_path):
    file = keras_files / "some.weights.h5"
    with pytest.raises(RunError, match=r"20 classes.* has 17"):
        _import(file, tmp_path / "run", SYMBOLS[2:])
    with pytest.raises(RunError, match="--height"):
        _import(file, tmp_path / "run", SYMBOLS, height=60)
    without = {k: v for k, v in LAYERS.items() if k != "bidirectional_1"}
    _keras_2(tmp_path / "short.h5", _weights(stored), without)
    with pytest.raises(RunError, match=r"do not follow each other.*bidirectional_4"):
        _import(tmp_path / "short.h5", tmp_path / "run", SYMBOLS)
    _keras_2(tmp_path / "list.h5", _weights(stored), LAYERS)
    with h5py.File(tmp_path / "list.h5", "a") as changed:
        changed.attrs["model_config"] = "[]"
    with pytest.raises(RunError, match="its configuration is none of Keras"):
        _import(tmp_path / "list.h5", tmp_path / "run", SYMBOLS)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(RunError, match="no file of Keras"):
        _import(tmp_path / "text.h5", tmp_path / "run", SYMBOLS)
    broken = _weights(stored)
    broken["Conv1"] = {**broken["Conv1"], "bias": np.full(32, np.nan, np.float32)}
    _keras_2(tmp_path / "nan.h5", broken, LAYERS)
    with pytest.raises(RunError, match="Conv1 holds numbers that are not finite"):
        _import(tmp_path / "nan.h5", tmp_path / "run", SYMBOLS)
    shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path, "text.h5")
    with pytest.raises(RunError, match="no file of Keras"):
        _import(tmp_path / "other.zip", tmp_path / "run", SYMBOLS)
    assert not (tmp_path / "run").exists()
