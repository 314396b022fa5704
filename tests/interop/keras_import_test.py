"""Runs made from Keras files give the logits of Keras."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import crnn_jax
from crnn_jax.cli import main
from crnn_jax.data import image_io
from crnn_jax.interop import keras
from crnn_jax.models import crnn
from tests.helpers.command_line import call
from tests.helpers.keras_run import SYMBOLS, import_run


def test_an_imported_run_has_keras_logits_and_reads(
    keras_files: Path,
    stored: dict[str, np.ndarray],
    captchas: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tmp_path / "run")
    file = str(keras_files / "whole.keras")
    assert main.main(["import-keras", file, "--alphabet", SYMBOLS, "--blank", "last", run]) == 0
    reader = crnn_jax.load(run)
    assert reader.charset.alphabet == SYMBOLS
    # The example's pixels are 255 times ours.
    logits = crnn.apply(reader.model, reader.params, jnp.asarray(stored["images"] * 255))
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)
    expected = reader.decode_batch_predictions(stored["logits"])
    assert reader.decode_batch_predictions(logits) == expected
    paths = sorted(captchas.iterdir())[:4]
    images = [image_io.to_array(image_io.open_image(p), reader.config.data) for p in paths]
    logits = crnn.apply(reader.model, reader.params, jnp.asarray(np.stack(images)))
    texts = [reading.text for reading in reader.predict(paths)]
    assert texts == reader.decode_batch_predictions(logits)
    capsys.readouterr()
    assert main.main(["import-keras", file, "--alphabet", SYMBOLS, run]) == 2
    assert "already" in capsys.readouterr().err


def test_a_class_for_unknown_symbols_and_a_blank_in_front_are_put_in_their_place(
    keras_files: Path, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    file = keras_files / "some.weights.h5"
    # Twenty classes: [UNK], eighteen symbols, and the blank.
    imported = import_run(file, tmp_path / "a", SYMBOLS[1:])
    assert imported.data.alphabet == keras.UNKNOWN + SYMBOLS[1:]
    assert crnn_jax.load(tmp_path / "a").charset.alphabet == keras.UNKNOWN + SYMBOLS[1:]
    import_run(file, tmp_path / "b", SYMBOLS, blank="first")
    logits = [
        np.asarray(crnn.apply(r.model, r.params, jnp.asarray(stored["images"] * 255)))
        for r in map(crnn_jax.load, (tmp_path / "a", tmp_path / "b"))
    ]
    np.testing.assert_allclose(logits[1], logits[0][..., [*range(1, 20), 0]], atol=1e-5)


def test_the_command_passes_on_the_size_that_the_file_lacks(
    keras_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two poolings make 12 rows of any height from 48 to 51, such as the 50 that Keras trained on.
    command = ["import-keras", keras_files / "some.weights.h5", tmp_path / "run"]
    size = ["--width", 160, "--height", 48]
    status, out, _ = call(capsys, *command, "--alphabet", SYMBOLS, *size)
    assert status == 0
    assert "images of 160x48" in out
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (data["width"], data["height"]) == (160, 48)
    for name, there, other in (("width", 200, 128), ("height", 50, 49)):
        command = ["import-keras", keras_files / "whole.keras", tmp_path / "other"]
        status, _, err = call(capsys, *command, "--alphabet", SYMBOLS, f"--{name}", other)
        assert (status, err.count("\n")) == (2, 1)
        assert f"whole.keras reads images of {name} {there}, not {other}" in err
    assert not (tmp_path / "other").exists()
