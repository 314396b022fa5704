"""The reader of a finished run in one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

import crnn_jax
from crnn_jax.errors import RunError
from crnn_jax.models import crnn
from crnn_jax.runs import reader_file
from crnn_jax.runs.run_dir import RunDir


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def found(run: Path) -> tuple[dict[str, Any], Any] | None:
    directory = RunDir(run)
    result = directory.result()
    assert result is not None
    return reader_file.read(directory, result.params_sha256, directory.config())


def test_it_is_the_reader_of_the_best_checkpoint(run: Path, captchas: Path) -> None:
    images = sorted(captchas.iterdir())[:8]
    best = json.loads((run / "result.json").read_text())["best_epoch"]
    from_checkpoint = crnn_jax.load(run, best)
    shutil.rmtree(run / "checkpoints")  # so it is not read
    reader = crnn_jax.load(run)
    assert reader.predict(images) == from_checkpoint.predict(images)
    for name in ("epoch", "fingerprint", "temperature", "typical", "width_by_image", "charset"):
        assert getattr(reader, name) == getattr(from_checkpoint, name), name
    for name, array in crnn.by_name(from_checkpoint.params).items():
        np.testing.assert_array_equal(crnn.by_name(reader.params)[name], array)


def test_other_programs_can_read_its_parameters(run: Path) -> None:
    arrays = safetensors.load_file(run / reader_file.FILE)
    assert arrays["dense2/bias"].shape == (5,)  # abc7 and the blank


def test_another_epoch_comes_from_its_checkpoint(run: Path) -> None:
    epoch = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert crnn_jax.load(run, epoch).epoch == epoch


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:-4],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"\xff" * 8 + content[8:],
        _replaced(b"abc", b"acb"),  # the order of the symbols
        _replaced(b"__metadata__", b"__metadatb__"),
        _replaced(b"dense2/bias", b"dense2/bian"),
        _replaced(b"dense2/bias", b"dense2/bia\xff"),
    ],
)
def test_a_damaged_file_is_not_used(
    run: Path, captchas: Path, change: Callable[[bytes], bytes]
) -> None:
    expected = crnn_jax.load(run).params
    file = run / reader_file.FILE
    file.write_bytes(change(file.read_bytes()))
    assert found(run) is None
    np.testing.assert_array_equal(
        crnn_jax.load(run).params["dense2"]["bias"], expected["dense2"]["bias"]
    )


def test_a_file_with_other_parameters_than_the_result_is_not_used(run: Path) -> None:
    """For example because the run went on from an earlier epoch and was scored again."""
    assert found(run) is not None
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "params_sha256": "0" * 64}))
    assert found(run) is None


def test_a_config_of_another_model_is_refused_as_by_the_checkpoint(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["model"]["dense_features"] += 1
    (run / "config.json").write_text(json.dumps(config))
    assert found(run) is None
    with pytest.raises(RunError, match="belongs to another model"):
        crnn_jax.load(run)


def test_a_run_that_is_not_finished_has_none(run: Path) -> None:
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="nothing has been trained there"):
        crnn_jax.load(run)
