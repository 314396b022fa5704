"""Training on unlabeled images, whose true labels are never used."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax import interop
from crnn_jax.data import batching, sources, splits
from crnn_jax.errors import ConfigError, DataError, RunError, TrainingError
from crnn_jax.interop import safetensors
from crnn_jax.runs import record_types
from crnn_jax.runtime.signals import Interrupted
from crnn_jax.training import self_training, train
from crnn_jax.training.context import prepare
from crnn_jax.training.self_training import PseudoLabel
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


@pytest.fixture
def nameless(captchas: Path, tmp_path: Path) -> Any:
    """The images of `captchas` in the same order, with names that are not labels."""
    folder = tmp_path / "nameless"
    folder.mkdir()
    for number, path in enumerate(sorted(captchas.iterdir())):
        shutil.copy(path, folder / f"{number:03d} - a name of no use.png")
    return folder


def _unlabeled(tiny_config: MakeConfig, trained: Path, folder: Path, **changes: Any) -> Any:
    return tiny_config(
        {
            "data.dir": os.fspath(folder), "data.use_labels": False, "data.alphabet": "7abc",
            "train.init_from": os.fspath(trained), "train.epochs": 2, "train.patience": 0,
            "train.checkpoint_selection": "last", "optimizer.learning_rate": 0.001,
            "model.lstm_units": (16, 8), **QUIET,
        } | changes
    )  # fmt: skip


def test_a_folder_without_labels_is_read_by_the_reader_that_it_starts_from(
    tiny_config: MakeConfig,
    trained: Path,
    captchas: Path,
    nameless: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = tmp_path / "run"
    result = train.train_and_evaluate(_unlabeled(tiny_config, trained, nameless), workdir)
    assert (result.num_train, result.num_val) == (0, 0)
    out = capsys.readouterr().out
    assert "40 without labels" in out
    assert "agreement with the reader's own labels" in out
    # The pseudo-labels are what the initial reader reads of the same images.
    reader = crnn_jax.load(workdir)
    rows = record_types.read_csv(workdir / self_training.FILE, PseudoLabel)
    truths = {
        f"{i:03d} - a name of no use.png": p.stem for i, p in enumerate(sorted(captchas.iterdir()))
    }
    assert {row.epoch for row in rows} == {2}
    assert np.mean([truths[row.file] == row.reading for row in rows]) > 0.9
    paths = sorted(nameless.iterdir())
    right = [r.text == truths[p.name] for r, p in zip(reader.predict(paths), paths, strict=True)]
    before = crnn_jax.load(trained).predict(paths)
    assert (
        sum(right) >= sum(r.text == truths[p.name] for r, p in zip(before, paths, strict=True)) - 1
    )


def test_labels_that_are_not_used_change_nothing(
    tiny_config: MakeConfig, trained: Path, captchas: Path, nameless: Path, tmp_path: Path
) -> None:
    # The weights are the same whether the file names are labels or not.
    found = []
    for folder in (captchas, nameless):
        config = _unlabeled(tiny_config, trained, folder, **{"train.stop_after": 1})
        found.append(
            train.train_and_evaluate(config, tmp_path / f"run {folder.name}").params_sha256
        )
    assert found[0] == found[1]


def test_the_rest_of_the_training_part_has_no_labels(tiny_config: MakeConfig) -> None:
    config = tiny_config(data__train_size=10, data__unlabeled="rest", data__test_size=8)
    source = sources.load(config.data, 16)
    assert (len(source.split.train), len(source.split.test)) == (10, 8)
    plain = splits.split(source.data.labels, dataclasses.replace(config.data, train_size=0))
    assert source.split.unlabeled.tolist() == plain.train[10:].tolist()
    hidden = set(source.split.unlabeled.tolist())
    for i, (text, label) in enumerate(zip(source.data.texts, source.data.labels, strict=True)):
        assert text == ("" if i in hidden else label)


def test_images_that_both_folders_have_are_left_out(
    tiny_config: MakeConfig, captchas: Path, nameless: Path, tmp_path: Path
) -> None:
    config = tiny_config(data__unlabeled=str(nameless))
    with pytest.raises(DataError, match=r"all images of .*nameless are also in"):
        sources.load(config.data, 16)
    other = tmp_path / "other"
    shutil.copytree(nameless, other)
    first = sorted(captchas.iterdir())[0]
    flipped = other / "another.png"
    shutil.copy(first, flipped)
    Image.open(flipped).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(flipped)
    source = sources.load(dataclasses.replace(config.data, unlabeled=str(other)), 16)
    assert [source.data.files[i] for i in source.split.unlabeled] == ["another.png"]


def test_an_interrupted_run_goes_on_with_the_labels_of_its_epoch(
    tiny_config: MakeConfig,
    trained: Path,
    nameless: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = _unlabeled(tiny_config, trained, nameless)
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    record = train.record_losses

    def stop(runs: Any, losses: Any, progress: Any) -> Any:
        record(runs, losses, progress)
        if runs[0].epoch == 1 and runs[0].steps_since == 2:
            os.kill(os.getpid(), 15)

    monkeypatch.setattr(train, "record_losses", stop)
    with pytest.raises(Interrupted):
        train.train_and_evaluate(config, tmp_path / "cut")
    monkeypatch.setattr(train, "record_losses", record)
    file = tmp_path / "cut" / self_training.FILE
    kept = file.read_bytes()
    file.unlink()
    with pytest.raises(RunError, match=r"labels\.csv does not contain the labels of epoch 2"):
        train.train_and_evaluate(config, tmp_path / "cut")
    file.write_bytes(kept)
    again = train.train_and_evaluate(config, tmp_path / "cut")
    assert again.params_sha256 == whole.params_sha256
    assert again.exact_match == whole.exact_match
    # Killed after its last epoch, before its result.
    (tmp_path / "cut" / "result.json").unlink()
    assert train.train_and_evaluate(config, tmp_path / "cut").num_exact == whole.num_exact


@pytest.mark.long
def test_a_quarter_with_labels_trains_on_both(
    tiny_config: MakeConfig, trained: Path, tmp_path: Path
) -> None:
    config = tiny_config(
        data__train_size=4, data__unlabeled="rest", data__val_fraction=0.2, train__epochs=2,
        train__init_from=str(trained), train__patience=0, data__alphabet="7abc",
        model__lstm_units=(16, 8),
    )  # fmt: skip
    workdir = tmp_path / "run"
    result = train.train_and_evaluate(config, workdir)
    assert (result.num_train, result.num_val) == (4, 8)
    files = {row.file for row in record_types.read_csv(workdir / self_training.FILE, PseudoLabel)}
    labeled = sources.load(config.data, 16)
    assert not files & {labeled.data.files[i] for i in labeled.split.train}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.use_labels": False}, "data.use_labels must be True unless train.init_from"),
        ({"data.unlabeled": "rest", "data.source": "synthetic"}, "data.unlabeled must be empty"),
        ({"data.unlabeled": "rest"}, "needs data.train_size above 0"),
        (
            {
                "data.unlabeled": "more",
                "data.use_labels": False,
                "train.init_from": "x",
                "data.alphabet": "ab",
            },
            "data.unlabeled must be empty if data.use_labels is False",
        ),
        ({"data.min_val_size": 5, "data.num_folds": 10}, "data.min_val_size must be 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tiny_config: MakeConfig, changes: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(changes)


def test_a_small_validation_part_is_trained_on(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config(data__min_val_size=5)  # 4 of 40
    source = sources.load(config.data, 16)
    plain = sources.load(tiny_config().data, 16)
    assert len(source.split.val) == 0
    assert source.split.train.tolist() == [*plain.split.train, *plain.split.val]
    assert len(sources.load(tiny_config(data__min_val_size=4).data, 16).split.val) == 4
    none = tiny_config(QUIET, train__epochs=3, data__val_fraction=0.0, train__stop_after=1)
    result = train.train_and_evaluate(none, tmp_path / "run")
    # The scored training images are those of one batch of the evaluation.
    assert (result.num_train, result.num_val, result.num_examples) == (40, 0, 8)
    assert result.temperature == 1
    assert "on training images" in str(result)
    with pytest.raises(DataError, match="no validation part"):
        crnn_jax.load(tmp_path / "run").evaluate()


def test_an_epoch_passes_several_times(tiny_config: MakeConfig) -> None:
    context = prepare(tiny_config(train__passes_per_epoch=3))
    assert context.steps_per_epoch == -(-36 * 3 // 8)
    assert np.bincount(context.order(1))[context.split.train].tolist() == [3] * 36


def test_a_run_without_labels_is_scored_on_a_labeled_folder(
    tiny_config: MakeConfig, trained: Path, captchas: Path, nameless: Path, tmp_path: Path
) -> None:
    config = _unlabeled(tiny_config, trained, nameless, **{"train.stop_after": 1})
    train.train_and_evaluate(config, tmp_path / "run")
    reader = crnn_jax.load(tmp_path / "run")
    evaluation = reader.evaluate(captchas).evaluation
    paths = sorted(captchas.iterdir())
    right = sum(r.text == p.stem for r, p in zip(reader.predict(paths), paths, strict=True))
    assert (evaluation.scores.num_exact, evaluation.scores.num_examples) == (right, 40)
    # Its export can be imported, although it does not include the initial reader.
    path = interop.export(tmp_path / "run", "safetensors")
    safetensors.import_run(path.parent, tmp_path / "back")
    assert crnn_jax.load(tmp_path / "back").predict(paths[0]) == reader.predict(paths[0])
    assert str(nameless) not in (path.parent / "reader.json").read_text()
    card = (path.parent / "README.md").read_text()
    assert "as they were labeled by the reader itself" in card


def test_a_file_of_labels_does_not_hide_images_that_need_none(
    tiny_config: MakeConfig, trained: Path, nameless: Path
) -> None:
    first = min(nameless.iterdir())
    (nameless / "labels.csv").write_text(f"file,label\n{first.name},abc\nmissing.png,a\n")
    source = sources.load(_unlabeled(tiny_config, trained, nameless).data, 16)
    assert len(source.split.unlabeled) == 40


def test_a_folder_in_which_no_text_is_found_leaves_the_directory_free(
    tiny_config: MakeConfig, trained: Path, nameless: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(self_training, "choose", lambda *arguments: [])
    config = _unlabeled(tiny_config, trained, nameless)
    other = tiny_config({**QUIET, "train.epochs": 3}, data__val_fraction=0, train__stop_after=1)
    with pytest.raises(TrainingError, match="no text in any of the 40 images"):
        train.train_all([config, other], [tmp_path / "run", tmp_path / "other"])
    assert not (tmp_path / "run" / "config.json").exists()
    assert (tmp_path / "other" / "result.json").exists()


def test_without_a_plausible_reading_an_epoch_has_labels_only(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_training, "choose", lambda *arguments: [])
    config = tiny_config(
        QUIET, data__train_size=4, data__unlabeled="rest", data__val_fraction=0.2, train__epochs=2,
        data__alphabet="7abc", train__patience=0,
    )  # fmt: skip
    seen: list[np.ndarray] = []
    order = batching.mixed_order

    def spy(*arguments: Any) -> np.ndarray:
        seen.append(order(*arguments))
        return seen[-1]

    monkeypatch.setattr(batching, "mixed_order", spy)
    context = prepare(config)
    labeled = set(context.split.train.tolist())
    assert len(labeled) == 4
    assert len(context.split.unlabeled) > 0
    assert set(context.order(1).tolist()) == labeled
    seen.clear()
    train.train_and_evaluate(config, tmp_path / "run")
    assert len(seen) == 2  # one for each epoch
    assert all(set(rows.tolist()) == labeled for rows in seen)
    assert len(record_types.read_csv(tmp_path / "run" / self_training.FILE, PseudoLabel)) == 1


def test_symbols_of_labels_that_are_not_used_are_no_fault(
    tiny_config: MakeConfig, trained: Path, captchas: Path
) -> None:
    changes = {"data.test_size": 10, "data.alphabet": "abc"}  # without 7
    source = sources.load(_unlabeled(tiny_config, trained, captchas, **changes).data, 16)
    assert len(source.split.test) >= 10
    assert set("".join(source.data.texts[i] for i in source.split.unlabeled)) == set()
