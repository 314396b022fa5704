"""Each export is run by its own runtime and compared with this package."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors import numpy as safetensors

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax import interop
from crnn_jax.cli import main
from crnn_jax.data import image_io
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import imported_run
from crnn_jax.models import crnn, greedy
from crnn_jax.training import train
from experiments import base, tiny
from tests.helpers import random_run
from tests.helpers.fixtures import MakeConfig

# float32 sums in other orders, through two recurrences; the logits are of order 10. The small
# model amplifies rounding: its logits of one image differ by 2e-4 between batches of 1 and 5.
TOLERANCE, SMALL = 1e-4, 1e-3

# A run directory, its reader, pixels and logits.
Case = tuple[Path, Recognizer, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def pixels(captchas: Path) -> np.ndarray:
    """u8 [5, W, H, 1] of the small set."""
    values = tiny.get_config().data
    images = [image_io.open_image(p) for p in sorted(captchas.iterdir())[:5]]
    return np.stack([image_io.to_array(p, values) for p in images])


@pytest.fixture(scope="module")
def cases(
    trained: Path, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Case]:
    """Normalized in gray by the set, and in color by each image."""
    gray = crnn_jax.load(trained)
    workdir = tmp_path_factory.mktemp("colour") / "run"
    config = gray.config
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, channels=3, width=41, height=19),
    )
    reader = random_run.write(
        workdir, config, Normalization((10.0, 20.0, 30.0), (255.0, 200.0, 90.0), True)
    )
    shape = (5, 41, 19, 3)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return {
        "trained": (trained, gray, pixels, _logits(gray, pixels)),
        "colour": (workdir, reader, images, _logits(reader, images)),
    }


@pytest.fixture(scope="module", params=["trained", "colour"])
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def _logits(reader: Recognizer, images: Any) -> np.ndarray:
    return np.asarray(jax.jit(crnn.apply)(reader.model, reader.params, images))


def _texts(reader: Recognizer, logits: Any) -> list[Any]:
    ids = jax.jit(greedy.greedy_decode)(logits)
    return [reader.charset.decode(row) for row in np.asarray(ids).tolist()]


ALONE = """
import sys, numpy, jax
from jax import export
for path, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    with open(path, "rb") as file:
        read = export.deserialize(bytearray(file.read())).call
    pixels = numpy.load(folder + "/pixels.npy")
    numpy.savez(folder + "/out.npz", read(pixels), read(pixels[:1]))
assert not [name for name in sys.modules if name.split(".")[0] in ("crnn_jax", "flax", "optax")]
"""


@pytest.fixture(scope="module")
def alone(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """By run directory, what one process computes that has the exports and jax alone."""
    arguments, outputs = list[Path](), {}
    for run, _, images, _ in cases.values():
        folder = tmp_path_factory.mktemp("stablehlo")
        np.save(folder / "pixels.npy", images)
        arguments += [interop.export(run, "stablehlo", folder / "export"), folder]
        outputs[run] = folder / "out.npz"
    subprocess.run([sys.executable, "-c", ALONE, *arguments], check=True, cwd=folder)
    return outputs


def test_stablehlo_needs_jax_alone(case: Case, alone: dict[Path, Path]) -> None:
    run, _, _, expected = case
    with np.load(alone[run]) as found:
        np.testing.assert_allclose(found["arr_0"], expected, atol=SMALL)
        np.testing.assert_allclose(found["arr_1"], expected[:1], atol=SMALL)


def test_onnx_runs_in_onnxruntime_with_its_own_operators(case: Case, tmp_path: Path) -> None:
    run, reader, images, expected = case
    path = interop.export(run, "onnx", tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, expected, atol=SMALL)
    assert _texts(reader, found) == _texts(reader, expected)
    (one,) = session.run(["logits"], {"images": images[:1]})
    np.testing.assert_allclose(one, expected[:1], atol=SMALL)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("LSTM") == kinds.count("Conv") == 2
    assert not {"Loop", "Scan"} & set(kinds)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["reader.json"]) == json.loads((tmp_path / "reader.json").read_text())


@pytest.mark.parametrize("other_cases", ["", "AB"])
def test_onnx_has_the_layers_of_the_general_reader(
    tmp_path: Path, tiny_config: MakeConfig, pixels: np.ndarray, other_cases: str
) -> None:
    """Layer norm, three kinds of pooling, and letters in both cases."""
    config = tiny_config(
        model__norm="layer", model__conv_features=(8, 12, 16), model__pool="2x2 1x1 1x2"
    )
    standard = Normalization((10.0,), (200.0,), True)
    reader = random_run.write(tmp_path / "run", config, standard, "a7b", other_cases=other_cases)
    expected = _logits(reader, pixels)
    path = interop.export(tmp_path / "run", "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": pixels})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=SMALL)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert (kinds.count("LayerNormalization"), kinds.count("MaxPool")) == (3, 2)


KERAS = """
import sys, jax, numpy
from crnn_jax import interop
for run, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    path = interop.export(run, "keras", folder + "/keras")
    import keras
    model = keras.saving.load_model(path)
    pixels = numpy.load(folder + "/pixels.npy").astype("float32")
    numpy.save(folder + "/out.npy", jax.jit(lambda images: model(images))(pixels))
"""


def _in_keras(images_of: dict[Path, Any], folder: Path) -> dict[Path, tuple[Any, Any]]:
    """By run directory, its exported model and the probabilities [B, T, K] that Keras computes.

    In a process of its own, because Keras does not pass our strict settings.
    """
    folders = {run: folder / str(number) for number, run in enumerate(images_of)}
    for run, images in images_of.items():
        folders[run].mkdir()
        np.save(folders[run] / "pixels.npy", images)
    environment = {**os.environ, "KERAS_HOME": str(folder)}
    arguments = itertools.chain.from_iterable(folders.items())
    subprocess.run([sys.executable, "-c", KERAS, *arguments], env=environment, check=True)
    return {
        run: (own / "keras" / "model.keras", np.load(own / "out.npy"))
        for run, own in folders.items()
    }


@pytest.fixture(scope="module")
def in_keras(
    cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory
) -> dict[Path, tuple[Any, Any]]:
    images_of = {run: images for run, _, images, _ in cases.values()}
    return _in_keras(images_of, tmp_path_factory.mktemp("keras"))


def test_keras_reads_the_same_and_comes_back_the_same(
    case: Case,
    in_keras: dict[Path, tuple[Any, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, reader, images, expected = case
    path, found = in_keras[run]
    np.testing.assert_allclose(found, jax.nn.softmax(expected), atol=3e-5)
    assert reader.decode_batch_predictions(found) == _texts(reader, expected)
    assert main.main(["import-keras", str(path), str(tmp_path / "back")]) == 0
    back = crnn_jax.load(tmp_path / "back")
    assert (back.charset, back.temperature) == (reader.charset, reader.temperature)
    # The export includes the split, so that evaluate can find the validation images.
    assert back.fingerprint == reader.fingerprint
    assert back.config.data.split_seed == reader.config.data.split_seed
    assert back.config.train == reader.config.train
    np.testing.assert_allclose(_logits(back, images), expected, atol=1e-6)
    arguments = ["--alphabet", reader.charset.alphabet[::-1], str(path), str(tmp_path / "no")]
    capsys.readouterr()
    assert main.main(["import-keras", *arguments]) == 2
    assert reader.charset.alphabet in capsys.readouterr().err
    # A file that Keras saved has no description; normalization is read from its layers.
    shutil.copy(path, tmp_path / "plain.keras")
    subprocess.run(["zip", "-qd", tmp_path / "plain.keras", "reader.json"], check=True)
    arguments[1:3] = [reader.charset.alphabet, str(tmp_path / "plain.keras")]
    assert main.main(["import-keras", *arguments]) == 0
    np.testing.assert_allclose(_logits(crnn_jax.load(tmp_path / "no"), images), expected, atol=1e-5)


def test_safetensors_goes_round_bit_for_bit(case: Case, tmp_path: Path) -> None:
    run, reader, images, expected = case
    path = interop.export(run, "safetensors", tmp_path / "out")
    arrays = safetensors.load_file(path)
    assert sum(a.size for a in arrays.values()) == sum(
        a.size for a in jax.tree.leaves(reader.params)
    )
    np.testing.assert_array_equal(arrays["Conv1.kernel"], reader.params["Conv1"]["kernel"])
    assert main.main(["import-safetensors", str(path.parent), str(tmp_path / "back")]) == 0
    back = crnn_jax.load(tmp_path / "back")
    jax.tree.map(np.testing.assert_array_equal, back.params, reader.params)
    np.testing.assert_array_equal(_logits(back, images), expected)
    assert (back.charset, back.temperature) == (reader.charset, reader.temperature)
    card = (path.parent / "README.md").read_text()
    assert reader.charset.alphabet in card
    assert f"{reader.config.data.width}x{reader.config.data.height} pixels" in card
    assert str(reader.config.data.dir) not in (path.parent / "config.json").read_text()


def test_an_imported_run_is_not_trained_in_its_place(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    random_run.write(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))
    with pytest.raises(RunError, match=r"was imported.*--config.train.init_from="):
        train.train_and_evaluate(config, tmp_path / "run")
    with pytest.raises(RunError, match="exists already"):
        random_run.write(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))


@pytest.mark.parametrize(
    ("kind", "changes", "other_cases", "message"),
    [
        ("onnx", {"model__cell": "gru"}, "", "model.cell 'gru' cannot be exported to ONNX"),
        ("keras", {"model__cell": "gru"}, "", "model.cell 'gru' cannot be exported to Keras"),
        ("keras", {"model__norm": "layer"}, "", "model.norm 'layer' and model.pool '' cannot be"),
        ("keras", {"model__pool": "2x2 1x2"}, "", "model.pool '2x2 1x2' cannot be exported"),
        ("keras", {}, "A", "letters in both cases cannot be exported to Keras"),
    ],
)
def test_a_layer_that_is_not_exported_is_named(
    tmp_path: Path,
    tiny_config: MakeConfig,
    kind: str,
    changes: dict[str, Any],
    other_cases: str,
    message: str,
) -> None:
    standard = Normalization((0.0,), (255.0,), False)
    random_run.write(tmp_path / "run", tiny_config(**changes), standard, other_cases=other_cases)
    with pytest.raises(RunError, match=message):
        interop.export(tmp_path / "run", kind)
    assert interop.export(tmp_path / "run", "stablehlo").exists()  # the function as it is


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["export", "RUN", "--format", "safetensors"], "safetensors"),
        (["export", "RUN", "--format", "stablehlo"], "flatbuffers"),
        (["import-keras", "FILE", "RUN"], "h5py"),
        (["import-safetensors", "FILE", "RUN"], "safetensors"),
    ],
)
def test_a_missing_package_is_named(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    package: str,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setitem(sys.modules, package, None)
    names = {"RUN": str(trained), "FILE": str(tmp_path / "file")}
    assert main.main([names.get(a, a) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert package in said
    assert "pip install 'crnn-jax[" in said


def test_the_page_s_runtime_is_asked_for(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="npm install onnxruntime-web"):
        interop.export(trained, "web", tmp_path / "page")


@pytest.mark.long
def test_the_whole_model_reads_real_images_the_same(real_set: Path, tmp_path: Path) -> None:
    """The sizes of the reference; random weights, with centered logits so that texts differ."""
    run = tmp_path / "run"
    config = config_lib.from_config_dict(base.get_config())
    files = sorted(real_set.iterdir())[:40]
    images = np.stack([image_io.to_array(image_io.open_image(f), config.data) for f in files])
    standard = Normalization((182.4,), (80.0,), False)
    reader = random_run.write(tmp_path / "raw", config, standard, "2345678bcdefgmnpwxy", noise=0.05)
    params = jax.tree.map(np.array, reader.params)
    params["dense2"]["bias"] -= _logits(reader, images).mean((0, 1))
    imported_run.write(run, config, reader.charset, standard, params, "", "a test")
    reader = crnn_jax.load(run)
    expected = _logits(reader, images)
    texts = _texts(reader, expected)
    assert len(set(texts)) > 36
    path = interop.export(run, "onnx", tmp_path / "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = {"onnx": session.run(None, {"images": images})[0]}
    path = interop.export(run, "stablehlo", tmp_path / "stablehlo")
    read: Any = jax.export.deserialize(bytearray(path.read_bytes())).call
    found["stablehlo"] = np.asarray(read(images))
    _, probabilities = _in_keras({run: images}, tmp_path)[run]
    # Up to a constant per step, which a softmax does not change.
    found["keras"] = np.log(probabilities) + jax.nn.logsumexp(expected, -1, keepdims=True)
    for kind, logits in found.items():
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE, err_msg=kind)
        assert _texts(reader, logits) == texts
