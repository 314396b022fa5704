import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.config.data_keys import AUTO_WIDTHS
from crnn_jax.data import input_width, listing, resolve, splits
from crnn_jax.errors import DataError, RunError
from crnn_jax.runs import grid as grids
from crnn_jax.runs import run_dir
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import BARE


def _save(folder: Path, name: str, width: int, height: int = 20) -> None:
    folder.mkdir(exist_ok=True)
    Image.new("L", (width, height), 200).save(folder / f"{name}.png")


@pytest.mark.parametrize(
    ("aspect", "times"),
    # 1.3 * aspect is 1.3, 3.9, 4.55, 5.2, 26, rounded; then the next of 3, 4 and 6.
    [(1, 3), (3, 4), (3.5, 6), (4, 6), (20, 6)],
)
def test_the_width_is_a_multiple_of_the_height(aspect: float, times: int) -> None:
    assert input_width.fitting(aspect, 64) == 64 * times
    assert times in AUTO_WIDTHS


def test_the_width_of_a_folder_is_that_of_its_median_image(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    # Aspects 1, 3, 3, 3 and 100: the smallest one gives 3 times the height, the mean 6 times.
    for name, width in (("aa", 20), ("ab", 60), ("ba", 60), ("bb", 2000), ("abb", 60)):
        _save(tmp_path / "set", name, width)
    config = tiny_config(data__dir=str(tmp_path / "set"), data__width=0)
    assert resolve.resolve(config).data.width == 4 * 16
    with_width = tiny_config(data__dir=str(tmp_path / "set"), data__width=80)
    assert resolve.resolve(with_width).data.width == 80


def test_cropped_images_have_the_width_of_their_text(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("aa", "ab", "ba"):
        pixels = np.full((40, 400), 255, np.uint8)  # aspect 10
        # 40 x 20 pixels of text. A fifth of 20 is added left and right, a quarter above and below:
        # 48 x 30, aspect 1.6. Trimming 1 % of the ink at each side removes at most a pixel.
        pixels[10:30, 100:140] = 0
        Image.fromarray(pixels).save(folder / f"{name}.png")
    config = tiny_config(data__dir=str(folder), data__width=0)
    assert resolve.resolve(config).data.width == 6 * 16
    config = tiny_config(data__dir=str(folder), data__width=0, data__crop=True)
    assert resolve.resolve(config).data.width == 3 * 16


def test_the_test_part_has_no_say_in_the_width(tmp_path: Path, tiny_config: MakeConfig) -> None:
    folder = tmp_path / "set"
    texts = sorted(f"{a}{b}" for a in "abcdef" for b in "abcde")
    changes = {"data__dir": str(folder), "data__width": 0, "data__test_size": 10}
    config = tiny_config(**changes)
    test = splits.split(texts, config.data).test.tolist()
    assert len(test) == 10
    # The median aspect is 3 without the test part, and 4 with it.
    widths = iter([60] * 11 + [80] * 9)
    for i, text in enumerate(texts):
        _save(folder, text, 2000 if i in test else next(widths))
    assert resolve.resolve(config).data.width == 4 * 16


def test_a_sweep_measures_a_folder_once(
    tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("aa", "ab", "ba", "bb"):
        _save(tmp_path / "set", name, 80)
    opened: list[object] = []
    width, checked = resolve._width, listing.checked
    monkeypatch.setattr(
        resolve, "_width", lambda data, known: opened.append(data) or width(data, known)
    )
    listed: list[object] = []
    monkeypatch.setattr(listing, "checked", lambda data: listed.append(data) or checked(data))
    base = config_lib.to_dict(tiny_config(data__dir=str(tmp_path / "set"), data__width=0))
    variants = {"all": {}, "two": {"data.train_size": 2}, "higher": {"data.height": 20}}
    cells = grids.Grid(base, variants, seeds=(0, 1), folds=(0,)).cells()
    assert len(listed) == 1
    # The height changes the width in pixels, so that it is measured again; the split does not.
    assert len(opened) == 2
    widths = {cell.variant: cell.config.data.width for cell in cells}
    assert widths == {"all": 96, "two": 96, "higher": 120}


def test_bad_folders_are_reported(tmp_path: Path, tiny_config: MakeConfig) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        resolve.resolve(tiny_config(data__dir=str(tmp_path / "none"), data__width=0))


def test_a_run_records_the_width_that_it_chose(
    tmp_path: Path, tiny_config: MakeConfig, captchas: Path
) -> None:
    # The images are 64x16, aspect 4.
    config = tiny_config(BARE, data__width=0, train__epochs=2)  # the program of commands_test.py
    result = train.train_and_evaluate(config, tmp_path / "run")
    assert resolve.resolve(config).data.width == 96
    assert '"width": 96' in (tmp_path / "run" / "config.json").read_text()
    # The same command again finds the finished run.
    assert train.train_and_evaluate(config, tmp_path / "run") == result


def test_a_directory_prepared_with_open_values_is_trained_in(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """As `python -m crnn_jax train RUN` does with a config.json that someone wrote."""
    prepared = tiny_config(BARE, data__width=0, data__length="labels", train__epochs=2)
    run = run_dir.RunDir(tmp_path / "run")
    run.open(prepared)
    assert run.config() == prepared
    train.train_and_evaluate(run.config(), run.workdir)
    assert run.config() == resolve.resolve(prepared) != prepared
    other = dataclasses.replace(prepared, seed=1)
    with pytest.raises(RunError, match=r"a different config; .*\n  seed: was 0, is now 1\n"):
        train.train_and_evaluate(other, run.workdir)
