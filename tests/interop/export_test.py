"""Each export is run by its own runtime and compared with this package."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors import numpy as safetensors

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax import interop
from crnn_jax.cli import main
from crnn_jax.config import Config
from crnn_jax.data import image_io
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import imported_run
from crnn_jax.interop import model_spec as description_lib
from crnn_jax.interop import safetensors as safetensors_lib
from crnn_jax.models import crnn, ctc_loss
from crnn_jax.training import train
from experiments import base, tiny
from tests.helpers.fixtures import MakeConfig

# float32 sums in other orders, through two recurrences; the logits are of order 10. The small
# model amplifies rounding: its logits of one image differ by 2e-4 between batches of 1 and 5.
TOLERANCE, SMALL = 1e-4, 1e-3


@pytest.fixture(scope="module")
def pixels(captchas: Path) -> np.ndarray:
    """u8 [5, W, H, 1] of the small set."""
    values = tiny.get_config().data
    images = [image_io.open_image(p) for p in sorted(captchas.iterdir())[:5]]
    return np.stack([image_io.to_array(p, values) for p in images])


def _make(
    workdir: Path, config: Config, standard: Any, alphabet: str = "abc7", noise: float = 0.3
) -> Recognizer:
    """A run with random weights."""
    model = crnn.build(config.model, len(alphabet) + 1, *standard)
    params = crnn.init(model, jax.random.key(0), config.data)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: np.float32(a + noise * rng.normal(size=a.shape)), params)
    imported_run.write(workdir, config, alphabet, standard, params, "", "a test")
    return crnn_jax.load(workdir)


@pytest.fixture(scope="module", params=["trained", "colour"])
def case(
    request: pytest.FixtureRequest,
    trained: Path,
    captchas: Path,
    pixels: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Recognizer, np.ndarray, np.ndarray]:
    """A run directory, its reader, pixels and logits: gray by set, and color by image."""
    if request.param == "trained":
        reader = crnn_jax.load(trained)
        return trained, reader, pixels, _logits(reader, pixels)
    workdir = tmp_path_factory.mktemp("colour") / "run"
    config = crnn_jax.load(trained).config
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, channels=3, width=41, height=19),
    )
    reader = _make(workdir, config, Normalization((10.0, 20.0, 30.0), (255.0, 200.0, 90.0), True))
    shape = (5, 41, 19, 3)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return workdir, reader, images, _logits(reader, images)


def _logits(reader: Recognizer, images: Any) -> np.ndarray:
    return np.asarray(crnn.apply(reader.model, reader.params, jnp.asarray(images)))


def _texts(reader: Recognizer, logits: Any) -> list[Any]:
    return [
        reader.charset.decode(row)
        for row in np.asarray(ctc_loss.greedy_decode(jnp.asarray(logits))).tolist()
    ]


def test_the_description_says_what_another_program_must_know(trained: Path, tmp_path: Path) -> None:
    path = interop.export(trained, "safetensors", tmp_path)
    values = json.loads((path.parent / "reader.json").read_text())
    result = json.loads((trained / "result.json").read_text())
    assert values["alphabet"] == ["7", "a", "b", "c"]
    assert values["blank"] == 4
    assert values["input"]["axes"] == ["batch", "width", "height", "channel"]
    assert values["input"]["size"] == {"width": 64, "height": 16}
    assert values["input"]["channels"] == "grey"
    assert values["output"] == {"axes": ["batch", "step", "class"], "steps": 16, "classes": 5}
    assert values["params_sha256"] == result["params_sha256"]
    assert values["temperature"] == result["temperature"] != 1
    assert values["fingerprint"] == result["fingerprint"]
    assert values["result"] == result
    assert len(values["standardise"]["mean"]) == 1


ALONE = """
import sys, numpy, jax
from jax import export
with open(sys.argv[1], "rb") as file:
    read = export.deserialize(bytearray(file.read())).call
pixels = numpy.load(sys.argv[2])
logits = [read(pixels), read(pixels[:1])]
assert not [name for name in sys.modules if name.split(".")[0] in ("crnn_jax", "flax", "optax")]
numpy.savez(sys.argv[3], *logits)
"""


def test_stablehlo_needs_jax_alone(
    case: tuple[Path, Recognizer, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    run, _, images, expected = case
    path = interop.export(run, "stablehlo", tmp_path)
    np.save(tmp_path / "pixels.npy", images)
    command: list[str | Path] = [
        sys.executable,
        "-c",
        ALONE,
        path,
        tmp_path / "pixels.npy",
        tmp_path / "out.npz",
    ]
    subprocess.run(command, check=True, cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["arr_0"], expected, atol=SMALL)
        np.testing.assert_allclose(found["arr_1"], expected[:1], atol=SMALL)


def test_onnx_runs_in_onnxruntime_with_its_own_operators(
    case: tuple[Path, Recognizer, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
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


KERAS = """
import sys, numpy
from crnn_jax import interop
path = interop.export(sys.argv[1], "keras", sys.argv[3])
import keras
model = keras.saving.load_model(path)
numpy.save(sys.argv[4], numpy.asarray(model(numpy.load(sys.argv[2]).astype("float32"))))
"""


def _in_keras(run: Path, images: Any, folder: Path) -> tuple[Any, Any]:
    """An exported model and the probabilities [B, T, K] that Keras computes.

    In a process of its own, because Keras does not pass our strict settings.
    """
    np.save(folder / "pixels.npy", images)
    environment = {**os.environ, "KERAS_HOME": str(folder)}
    arguments = [run, folder / "pixels.npy", folder / "keras", folder / "out.npy"]
    subprocess.run([sys.executable, "-c", KERAS, *arguments], env=environment, check=True)
    return folder / "keras" / "model.keras", np.load(folder / "out.npy")


def test_keras_reads_the_same_and_comes_back_the_same(
    case: tuple[Path, Recognizer, np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, reader, images, expected = case
    path, found = _in_keras(run, images, tmp_path)
    np.testing.assert_allclose(found, jax.nn.softmax(expected), atol=1e-5)
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


def test_safetensors_goes_round_bit_for_bit(
    case: tuple[Path, Recognizer, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
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


def test_an_export_of_a_version_with_fewer_and_older_keys_comes_back(
    trained: Path, tmp_path: Path
) -> None:
    folder = interop.export(trained, "safetensors", tmp_path / "out").parent
    description = json.loads((folder / "reader.json").read_text())
    for name in ("case", "merge"):
        del description["config"]["data"][name]
    config = description["config"]
    assert config["data"].pop("normalize") == "auto"
    assert config["train"].pop("ema_decay") == 0.98
    assert config["train"].pop("checkpoint_selection") == "best"
    config["data"]["standardise"] = "picture"
    config["train"] |= {"average_decay": 0.25, "weights": "last"}
    del description["digest"]
    sealed = {**description, "digest": description_lib._digest(description)}
    (folder / "reader.json").write_text(json.dumps(sealed))
    safetensors_lib.import_run(folder, tmp_path / "run")
    config = crnn_jax.load(tmp_path / "run").config
    data, train = config.data, config.train
    assert (data.case, data.merge, data.normalize) == ("keep", "", "image")
    assert (train.ema_decay, train.checkpoint_selection) == (0.25, "last")


def test_what_does_not_belong_together_is_refused_by_name(trained: Path, tmp_path: Path) -> None:
    folder = interop.export(trained, "safetensors", tmp_path / "out").parent
    whole = (folder / "reader.json").read_text()
    description = json.loads(whole)

    def refused(match: str, changes: Any = None, arrays: Any = None, resealed: bool = True) -> None:
        values = {**description, **(changes or {})}
        del values["digest"]
        seal = description_lib._digest(values) if resealed else description["digest"]
        (folder / "reader.json").write_text(json.dumps({**values, "digest": seal}))
        if arrays:
            safetensors.save_file(arrays, folder / "model.safetensors")
        with pytest.raises(RunError, match=match):
            safetensors_lib.import_run(folder, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refused("it was changed", {"alphabet": ["a", "7", "b", "c"]}, resealed=False)
    refused("dense2/bias is .*5.*require .*4", {"alphabet": ["7", "a", "b"]})
    refused("format is 'onnx'", {"format": "onnx"})
    refused("contains '7' more than once", {"alphabet": list("77ab")})
    refused("half a character", {"alphabet": ["\ud800", *"abc"]})
    standard = description["standardise"]
    for wrong in ([0.0], [1.0, 1.0], ["x"], [float("inf")], []):
        refused("the normalization does not fit", {"standardise": {**standard, "deviation": wrong}})
    refused(r"reader\.json of .* cannot be used", {"standardise": None})
    bad: list[tuple[str, Any]] = [("temperature", 0), ("temperature", "x"), ("exact_match_95", 1)]
    for name, wrong in bad:
        result = {**description["result"], name: wrong}
        refused(r"reader\.json of .* cannot be used", {"result": result})
    refused("learning_rat", {"config": {**description["config"], "learning_rat": 1}})
    arrays = safetensors.load_file(folder / "model.safetensors")
    refused("damaged or changed", arrays={**arrays, "Conv1.bias": arrays["Conv1.bias"] + 1})
    (folder / "model.safetensors").write_bytes(b"no")
    refused("not a readable safetensors export")
    (folder / "model.safetensors").unlink()
    refused("not a readable safetensors export")


def test_an_export_touches_nothing_but_exports(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match="not empty and not an export"):
        interop.export(trained, "safetensors", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    for _ in range(2):  # over an earlier export
        interop.export(trained, "safetensors", tmp_path / "new")


def test_an_imported_run_is_not_trained_in_its_place(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    _make(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))
    with pytest.raises(RunError, match=r"was imported.*--config.train.init_from="):
        train.train_and_evaluate(config, tmp_path / "run")
    with pytest.raises(RunError, match="exists already"):
        _make(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))


def test_other_layers_go_round_as_safetensors(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config(model__cell="gru", model__norm="layer")
    reader = _make(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))
    path = interop.export(tmp_path / "run", "safetensors")
    safetensors_lib.import_run(path.parent, tmp_path / "back")
    back = crnn_jax.load(tmp_path / "back")
    jax.tree.map(np.testing.assert_array_equal, back.params, reader.params)


@pytest.mark.parametrize("kind", ["onnx", "keras"])
def test_a_layer_that_is_not_exported_is_named(
    trained: Path, tmp_path: Path, tiny_config: MakeConfig, kind: str
) -> None:
    config = tiny_config(model__cell="gru")
    _make(tmp_path / "run", config, Normalization((0.0,), (255.0,), False))
    with pytest.raises(RunError, match=r"model.cell 'gru' cannot be exported"):
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
    reader = _make(tmp_path / "raw", config, standard, "2345678bcdefgmnpwxy", noise=0.05)
    params = jax.tree.map(np.array, reader.params)
    params["dense2"]["bias"] -= _logits(reader, images).mean((0, 1))
    imported_run.write(run, config, reader.charset.alphabet, standard, params, "", "a test")
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
    _, probabilities = _in_keras(run, images, tmp_path)
    # Up to a constant per step, which a softmax does not change.
    found["keras"] = np.log(probabilities) + jax.nn.logsumexp(expected, -1, keepdims=True)
    for kind, logits in found.items():
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE, err_msg=kind)
        assert _texts(reader, logits) == texts
