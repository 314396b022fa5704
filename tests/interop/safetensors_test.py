"""Exports as safetensors: their description, and what an import refuses."""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

import crnn_jax
from crnn_jax import interop, schema
from crnn_jax.charset import Charset
from crnn_jax.cli import main
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import RunError
from crnn_jax.inference import exported
from crnn_jax.interop import model_spec
from crnn_jax.interop import safetensors as safetensors_lib
from tests.helpers import random_run
from tests.helpers.fixtures import MakeConfig


def test_the_description_says_what_another_program_must_know(trained: Path, tmp_path: Path) -> None:
    path = interop.export(trained, "safetensors", tmp_path)
    values = json.loads((path.parent / "reader.json").read_text())
    result = json.loads((trained / "result.json").read_text())
    assert values["alphabet"] == ["7", "a", "b", "c"]
    assert values["blank"] == 4
    assert values["input"]["axes"] == ["batch", "width", "height", "channel"]
    assert values["input"]["size"] == {"width": 64, "height": 16}
    assert values["input"]["channels"] == "grey"
    assert values["input"]["frame"] == ""
    assert values["output"] == {"axes": ["batch", "step", "class"], "steps": 16, "classes": 5}
    assert values["other_cases"] == []
    assert values["params_sha256"] == result["params_sha256"]
    assert values["temperature"] == result["temperature"] != 1
    assert values["fingerprint"] == result["fingerprint"]
    assert values["result"] == result
    assert len(values["standardise"]["mean"]) == 1


def test_an_export_of_a_version_with_fewer_and_older_keys_comes_back(
    trained: Path, tmp_path: Path
) -> None:
    folder = interop.export(trained, "safetensors", tmp_path / "out").parent
    description = json.loads((folder / "reader.json").read_text())
    assert description.pop("width_by_image") is False
    for name in ("case", "merge"):
        del description["config"]["data"][name]
    config = description["config"]
    assert config["data"].pop("normalize") == "auto"
    assert config["train"].pop("ema_decay") == 0.98
    assert config["train"].pop("checkpoint_selection") == "best"
    config["data"]["standardise"] = "picture"
    config["train"] |= {"average_decay": 0.25, "weights": "last"}
    del description["digest"]
    sealed = {**description, "digest": exported.digest(description)}
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
        seal = exported.digest(values) if resealed else description["digest"]
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
    refused("unpaired surrogate", {"alphabet": ["\ud800", *"abc"]})
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


def test_a_folder_has_the_exports_of_one_reader(
    trained: Path, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """Else a program would decode the outputs of one model with the alphabet of another."""
    other, out = tmp_path / "other", tmp_path / "out"
    random_run.write(other, tiny_config(), Normalization((0.0,), (255.0,), False), "xyz7")
    interop.export(trained, "safetensors", out)
    interop.export(other, "safetensors", out)  # the only format, so all of it is replaced
    (out / "model.onnx").write_bytes(b"")
    interop.export(other, "safetensors", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(RunError, match=r"model\.onnx of a different reader; choose another --out"):
        interop.export(trained, "safetensors", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "reader.json").write_text("no JSON")
    with pytest.raises(RunError, match=r"model\.onnx of a different reader"):
        interop.export(other, "safetensors", out)


def test_an_export_is_written_where_a_reader_is_loaded_from() -> None:
    assert interop.FORMATS["safetensors"] == exported.WEIGHTS


def test_other_layers_go_round_as_safetensors(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config(model__cell="gru", model__norm="layer")
    reader = random_run.write(
        tmp_path / "run", config, Normalization((0.0,), (255.0,), False), other_cases="AC"
    )
    path = interop.export(tmp_path / "run", "safetensors")
    safetensors_lib.import_run(path.parent, tmp_path / "back")
    back = crnn_jax.load(tmp_path / "back")
    assert back.charset == reader.charset == Charset("abc7", other_cases="AC")
    jax.tree.map(np.testing.assert_array_equal, back.params, reader.params)
    card = (path.parent / "README.md").read_text()
    assert "3x3 convolutions with 4 and 8 features, layer norm and max-pooling of 2x2, 2x2" in card
    assert "bidirectional GRU layers of 8 units per direction" in card
    assert "read as those above: AC." in card
    assert "ocr_model_v1" not in card


def test_an_export_keeps_the_result_of_its_run(
    trained: Path, captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = interop.export(trained, "safetensors", tmp_path / "first").parent
    second = interop.export(first, "safetensors", tmp_path / "second").parent
    result = json.loads((trained / "result.json").read_text())
    assert json.loads((second / "reader.json").read_text())["result"] == result
    card = (second / "README.md").read_text()
    arguments = ["evaluate", str(second), "--data", str(captchas), "--format", "json"]
    assert main.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("best_epoch", "epochs_run", "seconds", "num_train", "num_val"):
        assert found[name] == result[name], name
    counts = f"{result['num_exact']} of {result['num_examples']}"
    assert f"{counts} images of its validation part are read exactly" in card
    assert "The architecture is `ocr_model_v1`" in card


def test_a_description_has_no_paths_of_this_machine(trained: Path) -> None:
    reader = crnn_jax.load(trained)
    paths: list[str] = []
    sections: dict[str, Any] = {}
    for field in dataclasses.fields(reader.config):
        section: Any = getattr(reader.config, field.name)
        if dataclasses.is_dataclass(type(section)):
            hints = typing.get_type_hints(type(section), include_extras=True)
            found = {name: "/home/alice/x" for name, kind in hints.items() if kind == schema.Path}
            paths += found
            sections[field.name] = dataclasses.replace(section, **found)
    assert {"dir", "val_dir", "style", "unlabeled", "init_from"} <= set(paths)
    reader.config = dataclasses.replace(reader.config, **sections)
    description = model_spec.describe(reader)
    assert "alice" not in json.dumps(description)
    assert description["config"]["data"]["val_dir"] == "x"
