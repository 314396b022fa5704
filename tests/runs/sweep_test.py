import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from crnn_jax import config as config_lib
from crnn_jax.data import listing, splits
from crnn_jax.errors import ConfigError, DataError, RunError
from crnn_jax.runs import grid as grids
from crnn_jax.runs import launch, sweep
from crnn_jax.training import train
from experiments import ablations, cross_validation, data_efficiency, plateau, schemes, tiny
from experiments.ablations import NO_AUGMENTATION


@pytest.fixture
def small(captchas: Path) -> Callable[..., grids.Grid]:
    """Makes a grid of one seed and one fold, with one epoch of a tiny model."""

    def make(**variants: Any) -> Any:
        values = tiny.get_config()
        values.data.dir = os.fspath(captchas)
        values.data.num_folds = 4
        values.train.epochs = 1
        quiet = {**NO_AUGMENTATION, "flat_start.until": 0.0}
        values.update_from_flattened_dict({**quiet, "model.lstm_units": (8,)})
        return grids.Grid(values.to_dict(), variants, seeds=(3,), folds=(1,))

    return make


def test_cells_are_the_product_and_each_has_its_own_keys(small: Callable[..., grids.Grid]) -> None:
    made = small(base={}, other={"model.dropout": 0.5, "train.epochs": 2})
    cells = grids.Grid(made.base, made.variants, seeds=(0, 1), folds=(1, 2)).cells()
    assert len({cell.path for cell in cells}) == len(cells) == 2 * 2 * 2
    for cell in cells:
        assert cell.config.seed == cell.seed
        assert cell.config.data.fold == cell.fold
        assert cell.config.model.dropout == (0.5 if cell.variant == "other" else 0.2)
        assert cell.config.train.epochs == (2 if cell.variant == "other" else 1)


def test_a_variant_with_a_wrong_key_is_named_before_anything_runs(
    small: Callable[..., grids.Grid], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"variant typo: .*did you mean model\.dropout"):
        sweep.run(small(base={}, typo={"model.dropot": 0.5}), tmp_path / "grid", jobs=1)
    assert not (tmp_path / "grid").exists()


def test_a_failing_cell_is_marked_the_others_go_on_and_nothing_is_done_twice(
    small: Callable[..., grids.Grid], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = small(base={}, broken={"data.dir": "/nowhere"})
    failed = sweep.run(made, tmp_path, jobs=2)
    assert [cell.variant for cell in failed] == ["broken"]
    assert "/nowhere" in (tmp_path / "broken" / "seed3-fold1" / sweep.FAILED).read_text()
    assert "[2/2, 0 min left]" in capsys.readouterr().out

    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    assert [path.parent.parent.name for path in times] == ["base"]
    (tmp_path / "broken").rename(tmp_path / "away")
    mended = small(base={}, broken={"data.split_seed": 1})

    def start(self: Any, tasks: dict[int, launch.Task]) -> Any:
        """Trains in this process, without another one."""
        (cell,) = (cell for cell in mended.cells() if cell.variant == "broken")
        train.train_and_evaluate(cell.config, tmp_path / cell.path)
        return {slot: mock.Mock(**{"poll.return_value": 0}) for slot in tasks}

    monkeypatch.setattr(launch.Local, "start", start)
    assert sweep.run(mended, tmp_path, jobs=1) == []
    assert "2 runs, 1 of them already finished" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    base, other = (
        json.loads((tmp_path / name / "seed3-fold1" / "result.json").read_text())
        for name in ("base", "broken")
    )
    assert (base["seed"], base["num_val"]) == (3, 10)
    assert base["params_sha256"] != other["params_sha256"]


def test_a_grid_without_its_data_says_so_once(
    small: Callable[..., grids.Grid], tmp_path: Path
) -> None:
    made = small(base={}, other={"model.dropout": 0.5})
    missing = grids.from_dict(
        {
            **config_lib.with_changes(made.base, {"data.dir": "/nowhere"}),
            "grid": {"variants": made.variants, "seeds": [3], "folds": [1]},
        }
    )
    with pytest.raises(DataError, match="no folder /nowhere"):
        sweep.run(missing, tmp_path / "grid", jobs=1)
    assert not (tmp_path / "grid").exists()


def test_a_directory_of_another_config_is_refused_before_anything_runs(
    small: Callable[..., grids.Grid], tmp_path: Path
) -> None:
    (tmp_path / "base" / "seed3-fold1").mkdir(parents=True)
    before = small(base={"train.epochs": 3}).cells()[0]
    sweep.RunDir(tmp_path / before.path).open(before.config)
    with pytest.raises(RunError, match=r"train\.epochs: was 3, is now 1") as error:
        sweep.run(small(another={}, base={}), tmp_path, jobs=1)
    # No advice to start all cells from the weights of one.
    assert "choose another --workdir for the sweep\n" in str(error.value)
    assert "init_from" not in str(error.value)
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize("experiment", [ablations, cross_validation, data_efficiency, plateau])
def test_the_grids_of_experiments_are_valid(experiment: Any) -> None:
    made = grids.from_dict(experiment.get_config().to_dict())
    cells = made.cells()
    assert len({cell.path for cell in cells}) == len(cells)
    configs = {config_lib.from_dict(config_lib.to_dict(cell.config)) for cell in cells}
    assert len(configs) == len(cells), "two cells have the same config"
    assert all(cell.config.train.checkpoint_selection == "last" for cell in cells)


@pytest.fixture
def two_schemes(captchas: Path, tmp_path: Path) -> list[str]:
    """Folders of 40 and 16 images."""
    for name, count in (("large", 40), ("small", 16)):
        (tmp_path / name).mkdir()
        for path in sorted(captchas.iterdir())[:count]:
            (tmp_path / name / path.name).symlink_to(path)
    return [os.fspath(tmp_path / name) for name in ("large", "small")]


def test_schemes_are_cells_of_every_number_of_labels_that_there_are(two_schemes: list[str]) -> None:
    made = grids.from_dict(schemes.get_config(",".join(["base", *two_schemes])).to_dict())
    # 40 - 13 test - 2 val = 25; 16 - 5 test - 1 val = 10, which are all.
    assert sorted(made.variants) == ["large/10", "large/all", "small/all"]
    cells = made.cells()
    assert len(cells) == 3 * 3
    assert {cell.config.data.train_size for cell in cells} == {10, 0}
    assert {cell.config.data.test_size for cell in cells} == {500}
    # The recipe that starts from the general reader has the same test parts.
    other = grids.from_dict(schemes.get_config(",".join(["adapt", *two_schemes])).to_dict()).cells()
    assert {cell.config.train.init_from for cell in other} == {"general"}
    assert [c.path for c in other] == [c.path for c in cells]
    for ours, theirs in zip(other, cells, strict=True):
        keys = ("test_size", "train_size", "val_fraction", "num_folds", "dir", "split_seed")
        assert all(getattr(ours.config.data, k) == getattr(theirs.config.data, k) for k in keys)
        assert (ours.config.train.checkpoint_selection, ours.config.train.patience) == ("last", 0)
    assert {cell.config.train.min_steps for cell in cells} == {2800}
    parts: dict[str, Any] = {}
    for cell in cells:
        assert cell.path.parts[0] == os.path.basename(cell.config.data.dir)
        files = list(listing.labels(cell.config.data.dir))
        split = splits.split([listing.label_of(file) for file in files], cell.config.data)
        names = [{files[i] for i in part.tolist()} for part in split]
        assert not names[2] & (names[0] | names[1])
        parts.setdefault(cell.path.parts[0], set()).add(frozenset(names[2]))
    assert {name: [len(test) for test in tests] for name, tests in parts.items()} == {
        "large": [13], "small": [5],
    }  # fmt: skip


def test_schemes_with_numbers_of_labels_of_ones_own(two_schemes: list[str]) -> None:
    arguments = ",".join(["adapt", "labels=7+12+all", *two_schemes])
    made = grids.from_dict(schemes.get_config(arguments).to_dict())
    # The small one has 10 labels outside the test and validation parts, as above.
    sizes = {cell.path.parent.as_posix(): cell.config.data.train_size for cell in made.cells()}
    assert sizes == {"large/7": 7, "large/12": 12, "large/all": 0, "small/7": 7, "small/all": 0}


def test_schemes_that_cannot_be_are_named(two_schemes: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe 'bass'; choose from base, adapt"):
        schemes.get_config("bass")
    with pytest.raises(ConfigError, match="two folders are named large"):
        schemes.get_config(",".join(["base", two_schemes[0], two_schemes[0]]))
    for wrong in ("50+many", "0", "", "-5"):
        with pytest.raises(ConfigError, match=r"neither a number of labels nor 'all'"):
            schemes.get_config(f"base,labels={wrong},{two_schemes[0]}")
    with pytest.raises(ConfigError, match="no scheme has more than 25 training images"):
        schemes.get_config(f"base,labels=500,{two_schemes[0]}")
    # A missing folder does not stop the others; its cells fail.
    made = schemes.get_config(f"base,{two_schemes[1]},{tmp_path}/missing").to_dict()
    assert "missing/500" in made["grid"]["variants"]


@pytest.mark.parametrize("name", ["../a", "a/..", "a//b", "/a", "a/", ".a/b", "a/.b", "a/b/c", ""])
def test_a_variant_is_one_or_two_folders_below_the_directory_of_the_sweep(
    small: Callable[..., grids.Grid], name: str
) -> None:
    grid = {"variants": {name: {}}, "seeds": [3], "folds": [1]}
    with pytest.raises(ConfigError, match="variant"):
        grids.from_dict({**small().base, "grid": grid})


@pytest.mark.parametrize(
    ("base", "variant", "says"),
    [
        ({"seed": 7}, {}, r"^seed .*--config\.grid\.seeds='\(7,\)'"),
        ({"data.fold": 2}, {}, r"^data\.fold .*--config\.grid\.folds='\(2,\)'"),
        ({}, {"seed": 0}, "^variant other: seed .*grid.seeds"),
        ({}, {"data.fold": 0}, "^variant other: data.fold .*grid.folds"),
    ],
)
def test_seeds_and_folds_are_set_by_the_grid_only(
    small: Callable[..., grids.Grid], base: Any, variant: Any, says: str
) -> None:
    values = config_lib.with_changes(small().base, base)
    grid = {"variants": {"base": {}, "other": variant}, "seeds": [3], "folds": [1]}
    with pytest.raises(ConfigError, match=says):
        grids.from_dict({**values, "grid": grid})


@pytest.mark.parametrize(
    "changes",
    [
        {"data.width": 100},
        {"data.channels": 3},
        {"data.crop": True},
        {"data.style": "night"},
        {"data.count": 30},
        {"data.synthetic_seed": 4},
    ],
)
def test_generated_images_are_the_same_in_all_variants_of_a_sweep(
    small: Callable[..., grids.Grid], changes: Any
) -> None:
    """The report would refuse to compare them, after all training."""
    made = small(base={}, other=changes)
    assert len(made.cells()) == 2  # of a folder
    generated = config_lib.with_changes(made.base, {"data.source": "synthetic"})
    with pytest.raises(ConfigError, match=r"^variant other: .*not as in the variant base"):
        grids.Grid(generated, made.variants, (3,), (1,)).cells()
    mixture = config_lib.with_changes(made.base, {"data.source": "mixture"})
    shares = {"base": {}, "other": {"data.generated_share": 0.3}}
    with pytest.raises(ConfigError, match=r"data\.generated_share is not as in the variant base"):
        grids.Grid(mixture, shares, (3,), (1,)).cells()
    # A mixture has a share of generated images, so their number depends on the size.
    sizes = {"base": {"data.train_size": 10}, "other": {"data.train_size": 20}}
    with pytest.raises(ConfigError, match=r"data\.train_size is not as in the variant base"):
        grids.Grid(mixture, sizes, (3,), (1,)).cells()
    schemes = {"one/all": {}, "other/all": changes}  # which a report does not compare
    assert len(grids.Grid(generated, schemes, (3,), (1,)).cells()) == 2


@pytest.mark.long
def test_cells_of_schemes_leave_their_test_scores(
    two_schemes: list[str], tmp_path: Path, small: Callable[..., grids.Grid]
) -> None:
    changes = {"data.dir": two_schemes[1], "data.num_folds": 0, "data.test_size": 500}
    made = small(**{"small/all": changes, "small/5": {**changes, "data.train_size": 5}})
    made = grids.Grid(made.base, made.variants, seeds=(3,), folds=(0,))
    assert sweep.run(made, tmp_path / "grid", jobs=1) == []
    scores = [
        json.loads((tmp_path / "grid" / "small" / labels / "seed3-fold0/test.json").read_text())
        for labels in ("5", "all")
    ]
    assert {score["num_examples"] for score in scores} == {5}
    assert scores[0]["files_sha256"] == scores[1]["files_sha256"]


def test_one_variant_by_name() -> None:
    made = grids.from_dict(ablations.get_config("no_flat_start").to_dict())
    assert list(made.variants) == ["no_flat_start"]
    with pytest.raises(ConfigError, match="no_flat_start"):
        ablations.get_config("no_flatstart")


@pytest.mark.parametrize("name", ["seeds", "folds"])
def test_a_number_twice_in_a_grid_is_refused(name: str) -> None:
    grid = {"seeds": (0, 1), "folds": (0,), "variants": {"base": {}}, name: (3, 4, 3)}
    with pytest.raises(ConfigError, match=f"{name} has the same number twice"):
        grids.from_dict({**tiny.get_config().to_dict(), "grid": grid})
