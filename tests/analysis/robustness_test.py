"""The robustness report: which keys a strength sets, and how readings are counted."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.analysis import distortions, robustness
from crnn_jax.cli.main import main
from crnn_jax.config import Config
from crnn_jax.data import generated
from crnn_jax.data.synthetic import presets
from crnn_jax.errors import ConfigError
from crnn_jax.inference.evaluate import Reading
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig

PLAIN = presets.from_values({"alphabet": "abc7", "length": [1, 2], "width": 64, "height": 16,
                           "size": [12, 12], "left": [4, 9], "baseline": [12, 12]})  # fmt: skip


@pytest.mark.parametrize("name", distortions.DISTORTIONS)
def test_a_strength_of_none_is_plain_text_and_more_changes_its_own_keys(name: Any) -> None:
    distortion = distortions.DISTORTIONS[name]
    assert distortion.strengths[0] == 0
    assert list(distortion.strengths) == sorted(distortion.strengths)
    none, some = (distortions.distorted(PLAIN, name, s, s) for s in (0, distortion.strengths[-1]))
    for key in distortions._PLAIN:
        assert getattr(none, key) == (0, 0)
    changed = {
        f.name for f in dataclasses.fields(PLAIN) if getattr(none, f.name) != getattr(some, f.name)
    }
    own = {"wave": {"wave_x", "wave_y"}, "overlap": {"spacing"}, "lines": {"curves"}}
    assert changed == own.get(name, {name})


class Seer:
    """A model that reads every second image, and only if it is upright."""

    def __init__(self, config: Config, look: Any) -> None:
        self.config = config
        data = generated.generate(look, config.data, range(2**31 - 9, 2**31 - 1))
        # The first axis of an image file is the height.
        seen = [image[..., 0].T.tobytes() for image in data.images]
        self.known = dict(list(zip(seen, data.texts, strict=True))[::2])

    def predict(self, images: Any) -> list[Any]:
        seen = [np.asarray(image).tobytes() for image in images]
        return [Reading(self.known.get(content, ""), 1.0) for content in seen]


def test_a_row_counts_the_right_readings_of_images_that_stand_upright(
    tiny_config: MakeConfig,
) -> None:
    seer: Any = Seer(tiny_config(), PLAIN)
    row = robustness._row("noise", 5, True, seer, PLAIN, 8)
    assert (row.num_exact, row.num_examples, row.exact_match) == (4, 8, 0.5)
    assert (row.distortion, row.strength, row.trained_against) == ("noise", 5, True)


@pytest.mark.long
def test_a_report_has_a_row_for_each_strength_and_reader(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "look.json"
    file.write_text(json.dumps(dataclasses.asdict(PLAIN)))
    monkeypatch.setitem(
        distortions.DISTORTIONS, "noise", distortions.Distortion("grey levels", (0, 200))
    )
    arguments = [
        "robustness", os.fspath(trained), "--style", os.fspath(file), "--count", "8",
        "--adapt", "4", "--distortion", "noise", "--workdir", os.fspath(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr().out
    rows = (tmp_path / "out/robustness.csv").read_text().splitlines()[1:]
    assert len(rows) == 4  # two strengths, two readers
    adapted = crnn_jax.load(tmp_path / "out/noise/run")
    assert adapted.config.train.init_from == os.fspath(trained)
    assert "| noise, grey levels | trained on it | 0: " in said
    assert "fingerprint" in said
    assert (tmp_path / "out/robustness.png").stat().st_size > 1000


def test_the_run_that_is_adapted_decides_neither_the_number_of_steps_nor_the_parts(
    trained: Path, tmp_path: Path
) -> None:
    reader = crnn_jax.load(trained)
    changes = {
        "train.min_steps": 2800, "train.min_steps_per_epoch": 45, "train.epochs": 7,
        "data.num_folds": 4, "data.fold": 3, "data.train_size": 20,
    }  # fmt: skip
    values = config_lib.to_dict(reader.config)
    reader.config = config_lib.from_dict(config_lib.with_changes(values, changes))
    style = tmp_path / "style.json"
    style.write_text(json.dumps(dataclasses.asdict(PLAIN)))
    context = prepare(robustness.adapted_config(reader, trained, style, 40))
    assert context.num_epochs * context.steps_per_epoch == 40


def test_the_steps_against_a_distortion_are_those_that_were_asked_for(trained: Path) -> None:
    batch = crnn_jax.load(trained).config.train.batch_size
    for adapt in (1, 50, 75, 300):
        data, train = robustness.schedule(adapt, batch)
        new = data - max(1, int(data * 0.1))  # minus the validation part
        assert new % batch == 0
        assert 0 <= train * new // batch - adapt < train  # epochs are equally long


def test_the_report_has_the_steps_that_are_made() -> None:
    assert robustness.num_steps(333) == (48, 7)  # 336, since seven epochs of 47 steps are too few
    assert robustness.num_steps(50) == (50, 1)


def test_what_cannot_be_measured_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["robustness", os.fspath(trained)]) == 2
    assert "choose a similar one with --style" in capsys.readouterr().err  # a run on a folder
    assert main(["robustness", os.fspath(trained), "--style", "captcha_v2"]) == 2
    assert "that the model in" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no distortion 'glare'; choose from turn, "):
        robustness.measure(trained, tmp_path, "plain", 1, 0, ["glare"])


def test_a_style_that_varies_cannot_be_distorted(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the style wide draws each image differently"):
        robustness.measure(trained, tmp_path, "wide", 8, 0, ["noise"])


def test_texts_and_alphabet_are_those_after_data_case(tiny_config: MakeConfig) -> None:
    """The reader has small letters only, and the style draws capitals."""
    config = tiny_config(data__case="lower")
    capitals = dataclasses.replace(PLAIN, alphabet="ABC")
    seer: Any = Seer(config, capitals)
    seer.known = {content: text.lower() for content, text in seer.known.items()}
    assert robustness._row("noise", 5, True, seer, capitals, 8).num_exact == 4


def test_a_table_of_other_distortions_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "robustness.csv").write_text("distortion,strength\ndots,0\nnoise,0\n")
    with pytest.raises(ConfigError, match=r"robustness\.csv has other results.* \(dots\)"):
        robustness.report(trained, tmp_path, "captcha_v2", 1, 0, ["noise"])
    columns = "distortion,strength,unit,trained_against"
    (tmp_path / "robustness.csv").write_text(f"{columns}\nnoise,0,levels,True\n")
    with pytest.raises(ConfigError, match="lost \\(models with --adapt\\)"):
        robustness.report(trained, tmp_path, "captcha_v2", 1, 0, ["noise"])


@pytest.mark.parametrize("name", distortions.DISTORTIONS)
def test_the_style_of_a_finished_model_is_not_replaced(
    name: str, trained: Path, tmp_path: Path
) -> None:
    """A finished model draws its validation part from the style."""
    reader = crnn_jax.load(trained)
    look = distortions.distorted(PLAIN, name, 0, 1)
    (tmp_path / "style.json").write_text(json.dumps(dataclasses.asdict(look)))
    config = robustness.adapted_config(reader, trained, tmp_path / "style.json", 40)
    RunDir(tmp_path / "run").open(config)
    robustness._check_same(tmp_path, look, config)
    other = robustness.adapted_config(reader, trained, tmp_path / "style.json", 80)
    for wrong in ((PLAIN, config), (look, other)):
        with pytest.raises(ConfigError, match="adapted to another style or for another number"):
            robustness._check_same(tmp_path, *wrong)
