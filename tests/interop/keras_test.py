"""Files written by Keras 3, and a file written by hand in the layout of Keras 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest

from crnn_jax.errors import RunError
from crnn_jax.interop import keras, keras_file
from experiments import base
from tests.helpers.keras_run import SYMBOLS, import_run


def _weights(stored: Any) -> Any:
    """{layer: {name: array}}"""
    result: dict[str, dict[str, np.ndarray]] = {}
    for key, value in stored.items():
        if key.startswith("weights/"):
            layer, name = key.removeprefix("weights/").split("/")
            result.setdefault(layer, {})[name] = value
    return result


def _keras_2(path: Path, weights: Any, layers: Any, optimizer: bool = True) -> None:
    """A whole model of TF-Keras 2: groups by layer, names with :0, and an optimizer."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": CONFIG})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in layers.values()]
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


# As TF-Keras 2.15 writes it, without keys that have no effect.
CELL = {
    "class_name": "LSTM",
    "config": {"activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True},
}
CONV = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "activation": "relu"}
POOL = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
CONFIG = {
    "layers": [
        {"class_name": kind, "config": config}
        for kind, config in [
            ("InputLayer", {"batch_input_shape": [None, 200, 50, 1]}),
            *[("Conv2D", CONV), ("MaxPooling2D", POOL)] * 2,
            ("Reshape", {"target_shape": [50, 768]}),
            ("Dense", {"activation": "relu"}),
            ("Dropout", {"rate": 0.2}),
            *[("Bidirectional", {"layer": CELL, "merge_mode": "concat"})] * 2,
            ("InputLayer", {"batch_input_shape": [None, None]}),  # input of the labels
            ("Dense", {"activation": "softmax"}),
            ("CTCLayer", {}),
        ]
    ]
}
LAYERS = {
    "Conv1": "Conv1", "Conv2": "Conv2", "dense1": "dense1", "bidirectional": "bidirectional_4",
    "bidirectional_1": "bidirectional_5", "dense2": "dense2",
}  # fmt: skip


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5", "some.weights.h5"])
def test_each_kind_of_file_gives_the_same_weights(
    keras_files: Path, stored: dict[str, np.ndarray], name: str
) -> None:
    model = keras_file.read(keras_files / name)
    jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))
    assert (model.conv_features, model.dense_features) == ((32, 64), 64)
    assert (model.lstm_units, model.num_classes, model.channels) == ((128, 64), 20, 1)
    assert model.size == (None if name == "some.weights.h5" else (200, 50))


def test_a_model_of_keras_2_is_known_by_its_layers_and_not_by_their_names(
    stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    names = {**LAYERS, "Conv1": "a", "dense2": "b", "bidirectional_1": "bidirectional_10"}
    for layers in (LAYERS, names):
        _keras_2(tmp_path / "old.h5", _weights(stored), layers)
        model = keras_file.read(tmp_path / "old.h5")
        jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))
        assert model.size == (200, 50)
        (tmp_path / "old.h5").unlink()


def _changed(keras_files: Path, path: Path, change: Any) -> Any:
    """whole.h5 with another configuration."""
    shutil.copy(keras_files / "whole.h5", path)
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        layers = config["config"]["layers"]
        change(layers, {layer["config"]["name"]: layer["config"] for layer in layers})
        file.attrs["model_config"] = json.dumps(config)
    return path


def _insert(at: Any, kind: Any, **config: Any) -> Callable[..., Any]:
    return lambda layers, _: layers.insert(at, {"class_name": kind, "config": config})


def _set(name: str, **values: Any) -> Callable[..., Any]:
    return lambda _, named: named[name].update(values)


def _set_cell(**values: Any) -> Callable[..., Any]:
    return lambda _, named: named["bidirectional"]["layer"]["config"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("pool1", pool_size=[1, 2]), "MaxPooling2D 'pool1' has pool_size"),
        (_set("pool2", padding="same"), "padding"),
        (_set("Conv2", strides=[2, 1]), "Conv2D 'Conv2' has strides"),
        (_set("Conv1", activation="elu"), "'elu', not 'relu'"),
        (_set("Conv1", data_format="channels_first"), "channels_first"),
        (_set("dense1", activation="gelu"), "Dense 'dense1' has the activation 'gelu'"),
        (_set("dense2", activation="sigmoid"), "Dense 'dense2'"),
        (lambda _, named: named["dense1"].pop("activation"), "'dense1' has the activation None"),
        (_set("bidirectional_1", merge_mode="sum"), "merge_mode 'sum'"),
        (_set_cell(recurrent_activation="hard_sigmoid"), "hard_sigmoid"),
        (_set_cell(go_backwards=True), "go_backwards"),
        (_insert(1, "Normalization", mean=0.7, variance=0.04), "Normalization"),
        (_insert(1, "Permute", dims=[2, 1, 3]), "Permute"),
        (_insert(3, "Rescaling", scale=0.1, offset=0), "Rescaling"),
        (_insert(8, "LayerNormalization", axis=-1), "LayerNormalization"),
        (_insert(2, "LeakyReLU"), "LeakyReLU"),
        (_insert(1, "Rescaling", scale=[0.1, 0.2], offset=0.0), "the normalization does not fit"),
        (_insert(1, "Rescaling", scale=0, offset=0.0), "rescales pixels by 0"),
    ],
)
def test_a_layer_that_reads_otherwise_is_refused_by_name(
    keras_files: Path, tmp_path: Path, change: Any, message: str
) -> None:
    path = _changed(keras_files, tmp_path / "other.h5", change)
    with pytest.raises(RunError, match=message):
        import_run(path, tmp_path / "run", SYMBOLS)
    assert not (tmp_path / "run").exists()


def test_layers_that_change_nothing_and_rescaling_before_the_first_are_taken(
    keras_files: Path, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    def change(layers: Any, _: Any) -> None:
        rescaling = {"class_name": "Rescaling", "config": {"scale": 1 / 127.5, "offset": -1.0}}
        inner = {"class_name": "Sequential", "config": {"layers": [rescaling]}}
        layers.insert(1, inner)
        layers.insert(3, {"class_name": "GaussianNoise", "config": {}})
        layers.append({"class_name": "Custom>CTCLayer", "config": {}})

    model = keras_file.read(_changed(keras_files, tmp_path / "fine.h5", change))
    assert model.normalization == ((127.5,), (127.5,), False)
    jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))


def test_layers_of_equal_shape_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The order is not that of their names."""
    rng = np.random.default_rng(0)

    def arrays(*shapes: Any) -> list[Any]:
        return [rng.normal(size=shape).astype(np.float32) for shape in shapes]

    cells = {
        "start": arrays((3, 3, 1, 2), (2,)),
        "middle": arrays((3, 3, 2, 2), (2,)),
        "exit": arrays((3, 3, 2, 2), (2,)),
        "first": arrays((4, 3), (3,)),
        "turn": arrays((3, 8), (2, 8), (8,)) * 2,
        "last": arrays((4, 5), (5,)),
    }
    with h5py.File(tmp_path / "free.h5", "w") as file:
        file.attrs["layer_names"] = list(cells)
        for name, values in cells.items():
            kinds = (
                ("kernel", "bias") if len(values) == 2 else ("kernel", "recurrent_kernel", "bias")
            )
            for way in ("",) if len(values) == 2 else ("forward/", "backward/"):
                for kind, value in zip(kinds, values, strict=False):
                    file[f"{name}/{name}/{way}{kind}:0"] = value
    model = keras_file.read(tmp_path / "free.h5")
    np.testing.assert_array_equal(model.params["Conv2"]["kernel"], cells["middle"][0])
    np.testing.assert_array_equal(model.params["Conv3"]["kernel"], cells["exit"][0])


def test_sizes_that_contradict_each_other_are_refused(keras_files: Path, tmp_path: Path) -> None:
    file = keras_files / "whole.h5"
    with pytest.raises(RunError, match="width 200, not 128"):
        keras.import_run(
            file, tmp_path / "a", base.get_config().to_dict(), SYMBOLS, size=(128, None)
        )
    turned = _changed(
        keras_files, tmp_path / "turned.h5", _set("image", batch_shape=[None, 50, 200, 1])
    )
    with pytest.raises(RunError, match=r"does not fit 200 \(the width fits\).* The first axis"):
        import_run(turned, tmp_path / "a", SYMBOLS)


def test_damaged_files_are_refused_in_a_sentence(keras_files: Path, tmp_path: Path) -> None:
    whole = (keras_files / "whole.keras").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.keras"
    refused = 0
    for _ in range(60):
        damaged = bytearray(
            whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole
        )
        for place in rng.integers(0, len(damaged), 40):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            keras_file.read(path)  # a flipped bit of a weight is still a weight
        except RunError:
            refused += 1
    assert refused > 30
    with h5py.File(tmp_path / "null.h5", "w") as file:
        file["model_weights"] = h5py.Empty("f")
    with pytest.raises(RunError, match="cannot be read as a Keras file"):
        keras_file.read(tmp_path / "null.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(keras_files / "whole.h5"), "model_weights")
    with pytest.raises(RunError, match="no weights"):
        keras_file.read(tmp_path / "link.h5")


def test_what_keras_keeps_besides_weights_is_passed_over(
    keras_files: Path, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Keras 2.15 saves a trained model with the state of its metrics."""
    shutil.copy(keras_files / "some.weights.h5", tmp_path / "some.weights.h5")
    with h5py.File(tmp_path / "some.weights.h5", "a") as file:
        file["metrics/mean/vars/0"] = np.float32(7)
        file["optimizer_2/vars/0"] = np.zeros((3, 3, 1, 32), np.float32)
    model = keras_file.read(tmp_path / "some.weights.h5")
    jax.tree.map(np.testing.assert_array_equal, model.params, _weights(stored))


def test_what_does_not_fit_is_refused_by_name(
    keras_files: Path, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = keras_files / "some.weights.h5"
    with pytest.raises(RunError, match=r"20 classes.* has 17"):
        import_run(file, tmp_path / "run", SYMBOLS[2:])
    with pytest.raises(RunError, match="--height"):
        import_run(file, tmp_path / "run", SYMBOLS, height=60)
    without = {k: v for k, v in LAYERS.items() if k != "bidirectional_1"}
    _keras_2(tmp_path / "short.h5", _weights(stored), without)
    with pytest.raises(RunError, match=r"do not follow each other.*bidirectional_4"):
        import_run(tmp_path / "short.h5", tmp_path / "run", SYMBOLS)
    _keras_2(tmp_path / "list.h5", _weights(stored), LAYERS)
    with h5py.File(tmp_path / "list.h5", "a") as changed:
        changed.attrs["model_config"] = "[]"
    with pytest.raises(RunError, match="its configuration is not that of a Keras model"):
        import_run(tmp_path / "list.h5", tmp_path / "run", SYMBOLS)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(RunError, match="cannot be read as a Keras file"):
        import_run(tmp_path / "text.h5", tmp_path / "run", SYMBOLS)
    broken = _weights(stored)
    broken["Conv1"] = {**broken["Conv1"], "bias": np.full(32, np.nan, np.float32)}
    _keras_2(tmp_path / "nan.h5", broken, LAYERS)
    with pytest.raises(RunError, match="Conv1 has values that are not finite"):
        import_run(tmp_path / "nan.h5", tmp_path / "run", SYMBOLS)
    shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path, "text.h5")
    with pytest.raises(RunError, match="cannot be read as a Keras file"):
        import_run(tmp_path / "other.zip", tmp_path / "run", SYMBOLS)
    assert not (tmp_path / "run").exists()
