"""Run directories of older versions."""

import json
from pathlib import Path

import pytest

from crnn_jax import config as config_lib
from crnn_jax.errors import RunError
from crnn_jax.runs import config_migrations, run_dir
from experiments import base
from experiments.sgd import SGD
from tests.helpers.fixtures import MakeConfig

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_records_of_older_versions_are_read_as_they_were_meant() -> None:
    """Recipes before generated images existed: base.py with ten folds and the last weights."""
    run = run_dir.RunDir(RESULTS / "cross_validation" / "captcha_images_v2" / "base/seed1-fold4")
    stored = config_lib.flatten(json.loads((run.workdir / "config.json").read_text()))
    assert "data.source" not in stored  # the key was added later
    assert stored["loss.inner"] == 0.0  # the key was removed later
    expected = base.get_blind_config()
    expected.update_from_flattened_dict(SGD)  # the recipe of that commit
    expected.data.direction = "ltr"  # the only one then
    expected.seed, expected.data.fold = 1, 4
    expected.data.dir = stored["data.dir"]
    assert run.config() == config_lib.from_config_dict(expected)


@pytest.mark.parametrize("name", ["picture_moments", "no_averaging", "no_standardisation"])
def test_old_names_of_keys_are_read_as_the_new_ones(name: str) -> None:
    """Records of commits that had data.standardize, train.average_decay and train.weights."""
    run = run_dir.RunDir(RESULTS / "ablations" / "captcha_images_v2" / name / "seed1-fold0")
    stored = config_lib.flatten(run.read_json("config.json"))
    expected = base.get_blind_config()
    expected.update_from_flattened_dict(SGD)  # the recipe of that commit
    expected.data.direction = "ltr"  # the only one then
    expected.seed, expected.data.dir = 1, stored["data.dir"]
    assert {"data.standardise", "train.average_decay", "train.weights"} <= stored.keys()
    if name == "picture_moments":
        assert stored["data.standardise"] == "picture"
        expected.data.normalize = "image"
    elif name == "no_averaging":
        expected.train.ema_decay = 0.0
    else:
        expected.data.normalize = ""
    assert run.config() == config_lib.from_config_dict(expected)


@pytest.mark.parametrize(("old", "trackers"), [(False, ()), (True, ("tensorboard",))])
def test_tensorboard_became_a_tracker(
    tmp_path: Path, tiny_config: MakeConfig, old: bool, trackers: tuple[str, ...]
) -> None:
    values = config_lib.to_dict(tiny_config())
    del values["log"]["trackers"]
    values["log"]["tensorboard"] = old
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert run_dir.RunDir(tmp_path).config().log.trackers == trackers


def test_a_key_under_both_names_is_an_error(tmp_path: Path, tiny_config: MakeConfig) -> None:
    values = config_lib.to_dict(tiny_config())
    values["train"]["average_decay"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"json: .*average_decay was renamed to train\.ema_decay"):
        run_dir.RunDir(tmp_path).config()


def test_what_went_and_was_on_is_named(tmp_path: Path, tiny_config: MakeConfig) -> None:
    values = config_lib.to_dict(tiny_config())
    values["loss"]["inner"] = 0.3
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"config\.json: there is no config key 'loss\.inner'"):
        run_dir.RunDir(tmp_path).config()


def test_a_config_of_today_stays_as_it_is(tiny_config: MakeConfig) -> None:
    values = config_lib.to_dict(tiny_config())
    assert config_migrations.up_to_date(values) == values


def test_a_run_of_an_older_version_is_the_same_run(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = config_lib.to_dict(tiny_config(data__source="folder", data__direction="ltr"))
    for key in config_migrations.ADDED:
        section, _, name = key.rpartition(".")
        del config[section][name]
    for old, new in (
        ("standardise", "normalize"),
        ("average_decay", "ema_decay"),
        ("weights", "checkpoint_selection"),
    ):
        section = "data" if old == "standardise" else "train"
        config[section][old] = config[section].pop(new)
    (tmp_path / "config.json").write_text(json.dumps(config))
    run_dir.RunDir(tmp_path).open(tiny_config(data__source="folder", data__direction="ltr"))
