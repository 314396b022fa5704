"""The readers of the package."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import crnn_jax
from crnn_jax import interop
from crnn_jax.cli.main import main
from crnn_jax.config import DataConfig
from crnn_jax.data import generated
from crnn_jax.data.synthetic import presets
from crnn_jax.errors import DataError, RunError
from crnn_jax.inference import shipped
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn


@pytest.fixture(scope="module")
def general() -> Recognizer:
    return crnn_jax.load("general")


def test_the_general_reader_reads_what_it_never_saw(general: Recognizer) -> None:
    # Plain text of another generator with known labels: one image in 16 may be misread.
    config = DataConfig(source="synthetic", style="plain", width=256, height=64, channels=3)
    made = generated.generate(presets.load("plain"), config, range(16))
    upright = [image.swapaxes(0, 1) for image in made.images]
    texts = [reading.text for reading in general.predict(upright)]
    assert sum(a == b for a, b in zip(texts, made.texts, strict=True)) >= 15


def test_it_reads_each_image_at_its_own_width(general: Recognizer) -> None:
    assert general.width_by_image


def test_its_config_has_the_names_of_today(general: Recognizer) -> None:
    """It was trained by experiments/general.py when keys had their old names."""
    data, train = general.config.data, general.config.train
    assert (data.normalize, train.ema_decay, train.checkpoint_selection) == ("image", 0.999, "last")


def test_its_size_is_that_of_its_card(general: Recognizer) -> None:
    leaves = crnn.by_name(general.params).values()
    assert sum(leaf.size for leaf in leaves) == 3_152_581
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert (shipped.FOLDER / "general" / shipped.WEIGHTS).stat().st_size < 12 * 2**20
    assert "3,152,581" in (shipped.FOLDER / "general" / "README.md").read_text()


@pytest.mark.parametrize("file", ["config.json", "reader.json"])
def test_a_run_or_an_export_of_that_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "226md.png").touch()
    assert shipped.is_name("general")  # a folder of something else is not read
    (tmp_path / "general" / file).write_text("{")
    assert not shipped.is_name("general")
    with pytest.raises(RunError, match="general"):
        crnn_jax.load("general")


def test_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped.FOLDER / "general", tmp_path / "general")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    weights = tmp_path / "general" / shipped.WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match=r"does not match reader\.json; install the package again"):
        shipped.read("general")
    weights.unlink()
    with pytest.raises(RunError, match="cannot be used"):
        shipped.read("general")


def test_a_description_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped.FOLDER / "general", tmp_path / "general")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    path = tmp_path / "general" / shipped.DESCRIPTION
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"temperature": "warm"}))
    with pytest.raises(RunError, match="temperature"):
        shipped.read("general")


def test_no_epoch_of_it_is_known() -> None:
    with pytest.raises(RunError, match="has no epochs"):
        crnn_jax.load("general", epoch=3)


def test_its_export_knows_unusual_images_too(general: Recognizer, tmp_path: Path) -> None:
    interop.export("general", "safetensors", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    # 3, 4 and 6 times the height; four pixels in each time step.
    assert "64 pixels in height and 192, 256 or 384 pixels in width" in card
    assert "in 48, 64 or 96 time steps" in card
    assert crnn_jax.load(tmp_path / "out").typical == general.typical is not None


def test_it_has_no_validation_part_here(general: Recognizer) -> None:
    with pytest.raises(DataError, match=r"the generator has changed .*; name a data set"):
        general.evaluate()


def test_an_import_keeps_widths_temperature_and_typicality(
    general: Recognizer, tmp_path: Path
) -> None:
    """Of a reader without a result, whose reader.json has them."""
    out, run = os.fspath(tmp_path / "out"), os.fspath(tmp_path / "run")
    assert main(["export", "general", "--format", "safetensors", "--out", out]) == 0
    assert main(["import-safetensors", out, run]) == 0
    found = crnn_jax.load(run)
    assert general.typical is not None
    assert crnn_jax.load(out).width_by_image
    assert found.width_by_image
    assert (found.temperature, found.typical) == (general.temperature, general.typical)
