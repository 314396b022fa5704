"""Damaged and vanishing checkpoints: the message names them, and those that are intact."""

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.config import Config
from crnn_jax.errors import DamageError
from crnn_jax.inference import recognizer
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runs import run_dir
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage") / "run"


@pytest.fixture
def run(
    tiny_config: MakeConfig, whole: Path, tmp_path: Path
) -> tuple[Config, Path, dict[str, Any]]:
    """A run of three epochs; the last is the best. Its result is not written yet."""
    config = tiny_config(
        {**QUIET, "train.epochs": 3, "log.every_steps": 2, "train.checkpoint_selection": "last"}
    )
    if not whole.exists():
        train.train_and_evaluate(config, whole)
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    expected = json.loads((copy / "result.json").read_text())
    (copy / "result.json").unlink()
    return config, copy, expected


def _arrays(checkpoint: Path, tree: Any) -> Any:
    """Returns the largest file of a tree, which has the bytes of its arrays."""
    files = [p for p in (checkpoint / tree).rglob("*") if p.is_file()]
    return max(files, key=lambda p: p.stat().st_size)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_meta(checkpoint: Path) -> None:
    path = checkpoint / "_CHECKPOINT_METADATA"
    values = json.loads(path.read_text())
    values["custom_metadata"]["mean"] = [values["custom_metadata"]["mean"][0] + 1]
    path.write_text(json.dumps(values))


DAMAGES = {
    "flipped": lambda c: _flip(_arrays(c, "params")),
    "flipped training": lambda c: _flip(_arrays(c, "training")),
    "cut off": lambda c: _arrays(c, "params").write_bytes(b"\0" * 100),
    "missing": lambda c: _arrays(c, "params").unlink(),
    "another mean": _flip_meta,
}


@pytest.mark.parametrize(
    "damage",
    [
        *("flipped", "missing", "another mean"),
        *(pytest.param(d, marks=pytest.mark.long) for d in ("flipped training", "cut off")),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on_to_the_same_end(
    run: tuple[Config, Path, dict[str, Any]], damage: Any
) -> None:
    config, folder, expected = run
    latest = folder / "checkpoints" / "3"
    DAMAGES[damage](latest)
    with pytest.raises(DamageError, match=r"checkpoints/3 is damaged") as error:
        train.train_and_evaluate(config, folder)
    offer = re.search(
        r"epoch 2 is intact\. Remove (\S+) and run the same command", str(error.value)
    )
    assert offer
    assert offer[1] == str(latest)
    if damage != "flipped training":  # the training state, which a reader does not need
        with pytest.raises(DamageError, match=r"checkpoints/3 is damaged.*--epoch: 2$"):
            recognizer.load(folder)
    if damage != "flipped":
        return
    assert recognizer.load(folder, epoch=2).epoch == 2
    shutil.rmtree(latest)
    assert train.train_and_evaluate(config, folder).params_sha256 == expected["params_sha256"]


def test_without_a_whole_one_the_message_says_so(run: tuple[Config, Path, dict[str, Any]]) -> None:
    config, folder, _ = run
    for epoch in (2, 3):
        _flip(_arrays(folder / "checkpoints" / str(epoch), "params"))
    with pytest.raises(DamageError, match="No earlier checkpoint is intact"):
        train.train_and_evaluate(config, folder)
    with pytest.raises(DamageError, match=r"damaged: [^;]*$"):
        recognizer.load(folder)


def test_arrays_that_changed_behind_sound_checksums_are_known_by_their_digest(
    tmp_path: Path,
) -> None:
    """The files of a checkpoint are replaced by those of another, intact checkpoint."""
    params = {"a": np.arange(3.0, dtype=np.float32)}
    for name, factor in (("one", 1), ("two", 2)):
        with Checkpoints(tmp_path / name / "checkpoints") as checkpoints:
            checkpoints.save(1, {"a": params["a"] * factor}, None, {"best_epoch": 1}, 1)
    one, two = (tmp_path / name / "checkpoints" / "1" / "params" for name in ("one", "two"))
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with Checkpoints(tmp_path / "one" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.meta(1) == {"best_epoch": 1}
        with pytest.raises(
            DamageError, match=r"checkpoints/1 is damaged: the digest of its params"
        ):
            checkpoints.restore(1, {"params": params})
        # A run of a version without digests can be read.
        (tmp_path / "one" / "checkpoints.json").unlink()
        restored = checkpoints.restore(1, {"params": params})["params"]["a"]
    np.testing.assert_array_equal(restored, 2 * params["a"])


def test_a_digest_that_is_not_in_the_record_is_missed(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, {"a": np.ones(2, np.float32)}, None, {"best_epoch": 1}, 1)
    run_dir.RunDir(tmp_path).write_json("checkpoints.json", {})
    with (
        Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints,
        pytest.raises(DamageError, match="not None"),
    ):
        checkpoints.meta(1)


def test_a_run_of_a_version_that_kept_no_digests_goes_on(tmp_path: Path) -> None:
    params = {"a": np.ones(2, np.float32)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, params, None, {"best_epoch": 1}, 1)
        (tmp_path / "checkpoints.json").unlink()
        checkpoints.save(2, params, None, {"best_epoch": 1}, 1)
        assert checkpoints.meta(1) == {"best_epoch": 1}
        checkpoints.restore(1, {"params": params})
    assert run_dir.RunDir(tmp_path).read_json("checkpoints.json")["1"] is None


def _resave(folder: Path, reader: Recognizer, epoch: int) -> None:
    meta = {
        "alphabet": reader.charset.alphabet,
        "mean": reader.model.mean.tolist(),
        "deviation": reader.model.std.tolist(),
        "each_picture": reader.model.per_image,
        "fingerprint": reader.fingerprint,
        "best_epoch": epoch,
    }
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(epoch, reader.params, None, meta, epoch)


def test_a_checkpoint_that_vanishes_while_it_is_read_is_no_damage(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running training saves a newer epoch and deletes the one that is being read."""
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("reader.safetensors"))
    reader = recognizer.load(run)
    newest = max(int(p.name) for p in (run / "checkpoints").iterdir()) + 1
    real = Checkpoints.restore

    def restore(self: Checkpoints, epoch: int, like: Any) -> Any:
        if epoch != newest:
            _resave(run / "checkpoints", reader, newest)
            shutil.rmtree(run / "checkpoints" / str(epoch))
        return real(self, epoch, like)

    monkeypatch.setattr(Checkpoints, "restore", restore)
    assert recognizer.load(run).epoch == newest


def test_a_run_is_read_in_a_loop_while_it_trains(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("reader.safetensors"))
    reader = recognizer.load(run)
    first = max(int(p.name) for p in (run / "checkpoints").iterdir()) + 1

    def write() -> None:
        for epoch in range(first, first + 15):
            _resave(run / "checkpoints", reader, epoch)

    writer = threading.Thread(target=write)
    writer.start()
    read = []
    try:
        while writer.is_alive():
            read.append(recognizer.load(run).epoch)
    finally:
        writer.join()
    assert recognizer.load(run).epoch == first + 14
    assert read == sorted(read)
