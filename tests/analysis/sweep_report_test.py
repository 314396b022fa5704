import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.analysis import sweep_report, sweep_runs
from crnn_jax.cli import main
from crnn_jax.errors import RunError
from crnn_jax.inference import metrics
from crnn_jax.runs.result import Answer, Result
from crnn_jax.runs.run_dir import RunDir

RESULT = Result(
    exact_match=0.0, exact_match_95=[0.0, 1.0], cer=0.0, char_accuracy=1.0, num_exact=0,
    num_examples=10, num_chars=50, val_loss=0.1, best_epoch=4, epochs_run=4, seconds=40.0, seed=0,
    params_sha256="", data_name="set", fingerprint="f" * 64, num_train=90, num_val=10,
)  # fmt: skip


def _leave(
    folder: Path,
    variant: Any,
    seed: int,
    misread: Any,
    val_losses: Any,
    exact: Any,
    fold: int = 0,
    **changes: Any,
) -> None:
    """Writes the record of a run on ten images, with one wrong character per misread image."""
    path = folder / variant / f"seed{seed}-fold{fold}"
    path.mkdir(parents=True)
    run = RunDir(path)
    run.write_csv("errors.csv", ("file", "truth"), [(f"{fold}-{m}.png", "x") for m in misread])
    size = changes.get("num_train", 0)
    run.write_json("config.json", {"data": {"train_size": size}})
    data = {"plateau_loss": 16.0, "num_examples": 136}
    run.write_json("environment.json", {"commit": "c" * 40, "data": data})
    for epoch, (loss, match) in enumerate(zip(val_losses, exact, strict=True), 1):
        line = {"epoch": epoch, "val_loss": loss, "exact_match": match, "seconds": 10.0 * epoch}
        run.append_metrics({"epoch": epoch, "step_loss": 1.0})
        run.append_metrics(line)
    wrong = len(misread)
    scores = {"num_exact": 10 - wrong, "exact_match": 1 - wrong / 10, "cer": wrong / 50}
    result = dataclasses.replace(RESULT, **{"seed": seed, **scores, **changes})
    run.write_json("result.json", dataclasses.asdict(result))


def _leave_readings(path: Path, images: range, truth: str) -> None:
    rows = [(f"0-{n}.png", truth, truth, 0.9, 0.1) for n in images]
    RunDir(path).write_csv("readings.csv", Answer._fields, rows)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    fast, slow = ([20, 11.9, 3, 1], [0, 0.5, 0.95, 1.0]), ([16, 16, 12.1, 11], [0, 0, 0, 0.2])
    _leave(tmp_path, "base", 0, [1, 2], *fast)
    _leave(tmp_path, "base", 1, [1], *fast)
    _leave(tmp_path, "worse", 0, [1, 2, 3, 4, 5], *slow)
    _leave(tmp_path, "worse", 1, [1, 3, 4], [16] * 4, [0] * 4, val_loss=0.4)
    _leave(tmp_path, "other_seed", 7, [], *fast)
    return tmp_path


def test_rows_counted_by_hand(grid: Path) -> None:
    base, other, worse = sweep_report.table(sweep_runs.read_grid(grid))
    assert [row.variant for row in (base, other, worse)] == ["base", "other_seed", "worse"]
    assert (base.runs, base.exact_match, base.cer) == (2, 17 / 20, 3 / 100)
    # Both seeds read the same ten images: Wilson's interval of 8.5 of 10, by hand.
    interval = (base.exact_match_low, base.exact_match_high)
    assert interval == pytest.approx((0.54115, 0.96457), abs=1e-5)
    assert base.mean == pytest.approx(0.85)
    assert base.spread == pytest.approx(np.std([0.8, 0.9], ddof=1))
    # Below 12 of a plateau at 16; 95 % at epoch 3, 30 s.
    assert (base.left_plateau, base.left_plateau_last, base.never_left) == (2, 2, 0)
    assert (base.epoch_reached, base.epoch_reached_last, base.seconds_reached) == (3, 3, 30.0)
    assert base.difference is None
    assert (worse.left_plateau, worse.never_left, worse.epoch_reached) == (4, 1, None)
    assert (base.never_reached, worse.never_reached) == (0, 2)
    # Ten images each, with losses 0.1 and 0.4.
    assert (base.val_loss, worse.val_loss) == pytest.approx((0.1, 0.25))
    assert worse.left_plateau_last == 4
    # Over both seeds, five of twenty images are lost and none gained.
    assert worse.difference == -5 / 20
    # None of three images is read better on average over seeds.
    assert worse.p_value == 2 / 2**3
    assert worse.difference_low is not None
    assert worse.difference_high is not None
    assert worse.difference_low < -5 / 20 < worse.difference_high <= 0
    # No seed in common with the base: nothing to compare. One seed has no spread.
    assert (other.difference, other.spread) == (None, None)


def test_the_interval_takes_an_image_for_one_draw_however_many_seeds_read_it(grid: Path) -> None:
    # Both seeds lose images 3 and 4, one loses 5: over ten images -2, -2, -1, 0 x 7.
    *_, worse = sweep_report.table(sweep_runs.read_grid(grid))
    draws = np.random.default_rng(5).choice([-2, -2, -1] + [0] * 7, (40_000, 10)).mean(1) / 2
    low, high = np.percentile(draws, [2.5, 97.5])
    # halves of means of ten integers are multiples of 1 / 20
    assert (worse.difference_low, worse.difference_high) == pytest.approx((low, high), abs=0.026)


def test_rates_of_runs_of_unequal_size_are_weighted(tmp_path: Path) -> None:
    """One wrong of 50 characters and 15 of 150 are 16 of 200; losses are weighted by images."""
    _leave(tmp_path, "base", 0, [1], [1.0], [0.9])
    size: dict[str, Any] = {"num_examples": 30, "num_chars": 150, "num_exact": 29}
    _leave(tmp_path, "base", 1, [1], [1.0], [0.9], **size, cer=15 / 150, val_loss=0.5)
    (row,) = sweep_report.table(sweep_runs.read_grid(tmp_path))
    assert row.cer == pytest.approx(16 / 200)
    assert row.val_loss == pytest.approx((10 * 0.1 + 30 * 0.5) / 40)


def test_mcnemar_of_the_binomial_by_hand() -> None:
    assert metrics.mcnemar(0, 0) == 1.0
    assert metrics.mcnemar(5, 5) == 1.0
    # 1 of 8: (1 + 8) / 256, two-sided.
    assert metrics.mcnemar(1, 7) == metrics.mcnemar(7, 1) == 18 / 256


def test_a_small_p_value_is_not_shown_as_zero() -> None:
    """Of n images that only one variant reads, all gained or all lost: p is 2 / 2^n."""
    values = (None, 1.0, 2 / 2**11, 2 / 2**12)
    shown = ["-", "1.000", "0.001", "< 0.001"]
    assert [sweep_report.p_value(value) for value in values] == shown


def test_bootstrap_interval_nears_the_normal_one() -> None:
    # 400 values: 100 ones, 300 zeros. Deviation of the mean: sqrt(0.25 * 0.75 / 400) = 0.02165.
    low, high = metrics.bootstrap_mean([1] * 100, 300)
    assert (low, high) == pytest.approx((0.25 - 1.96 * 0.02165, 0.25 + 1.96 * 0.02165), abs=0.003)


def test_the_command_writes_table_csv_and_image(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", str(grid)]) == 0
    printed = capsys.readouterr().out
    assert (grid / "report.md").read_text() == printed
    head, _, header, rule, *rows, _, caution, _, note = printed.splitlines()
    assert head.startswith(
        "set, fingerprint ffffffffffff, 136 images; 5 runs; commit cccccccccccc."
    )
    assert "not corrected" in caution
    assert {line.count("|") for line in (header, rule, *rows)} == {11}
    assert rows[0].startswith("| base | 2 | 85.00% [")
    # Two seeds, 0.8 and 0.9, and one.
    assert "] | 85.00% ± 7.07% | 3.000% |" in rows[0]
    assert "] | 100.00% | 0.000% |" in rows[1]
    assert "| to 95%: median, latest epoch; seconds |" in header
    assert "| 2, 2 | 3, 3; 30 | - | - |" in rows[0]
    assert "| 4, 4 (1 never) | never | -25.00% [" in rows[2]
    assert note.endswith("the differences are over those in common: other_seed (0 in common).")
    with (grid / "report.csv").open() as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["base", "other_seed", "worse"]
    with Image.open(grid / "report.png") as image:
        assert image.width > 500
    assert not (grid / "report_sizes.png").exists()  # all are of 90 images


def test_the_share_that_is_dated_is_the_reader_s(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", str(grid), "--reach", "0.5"]) == 0
    assert "| 2, 2; 20 |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.main(["report", str(grid), "--reach", "95"])
    assert "above 0 and at most 1" in capsys.readouterr().err


def test_training_sets_of_several_sizes_make_a_curve(grid: Path) -> None:
    for size in (20, 40):
        _leave(grid, f"{size}_images", 0, [1, 2, 3], [1], [1], num_train=size)
    (grid / "base" / "seed0-fold0" / "augmented.png").touch()
    assert main.main(["report", str(grid)]) == 0
    with Image.open(grid / "report_sizes.png") as image:
        assert image.width > 500
    assert "![augmented](base/seed0-fold0/augmented.png)" in (grid / "report.md").read_text()


def test_runs_of_different_data_have_no_common_table(grid: Path) -> None:
    _leave(grid, "base", 2, [], [1], [1], fingerprint="0" * 64)
    with pytest.raises(RunError, match="different data"):
        sweep_runs.read_grid(grid)


def test_a_directory_without_runs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished runs"):
        sweep_runs.read_grid(tmp_path)


def test_a_record_that_contradicts_itself_is_named(grid: Path) -> None:
    path = grid / "base" / "seed0-fold0"
    values = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**values, "num_exact": 9}))
    with pytest.raises(RunError, match=r"seed0-fold0.*disagree"):
        sweep_runs.read_grid(grid)


@pytest.mark.parametrize("name", ["errors.csv", "environment.json", "metrics.jsonl"])
def test_a_damaged_record_is_named(grid: Path, name: str) -> None:
    (grid / "base" / "seed0-fold0" / name).write_text("")
    with pytest.raises(RunError, match=f"seed0-fold0.{name}"):
        sweep_runs.read_grid(grid)


def test_a_report_imports_no_jax() -> None:
    code = "import sys, crnn_jax.analysis.sweep_report; assert 'jax' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_runs_that_read_other_images_are_not_compared(tmp_path: Path) -> None:
    """A variant may change the split, or merge symbols: then its task is not that of the base."""
    for variant, first, truth in (
        ("base", 0, "8"), ("same", 0, "8"), ("more", 5, "8"), ("merged", 0, "b"),
    ):  # fmt: skip
        _leave(tmp_path, variant, 0, [5, 6], [1], [1])
        _leave_readings(tmp_path / variant / "seed0-fold0", range(first, first + 10), truth)
    base, *others = sweep_report.table(sweep_runs.read_grid(tmp_path))
    found = {row.variant: (row.difference, row.p_value, row.difference_low) for row in others}
    assert found["same"] == (0, 1, None)  # a bootstrap of zeros has no width
    assert found["more"] == found["merged"] == (None, None, None)
    assert base.difference is None
    runs = sweep_runs.read_grid(tmp_path)
    text = sweep_report.to_markdown(runs, sweep_report.table(runs))
    assert text.count("| +0.00% |") == 1
    assert text.endswith(
        "\nNot compared with base, because they read other images or other labels: merged, more.\n"
    )


def test_a_run_with_a_name_of_its_own_reads_no_further_images(tmp_path: Path) -> None:
    """Two seeds of one fold, as in `test_rows_counted_by_hand`: Wilson's of 8.5 of 10 images."""
    for seed, misread in ((0, [1, 2]), (1, [1])):
        _leave(tmp_path, "base", seed, misread, [1], [1])
        path = tmp_path / "base" / f"seed{seed}-fold0"
        _leave_readings(path, range(10), "x")
        path.rename(tmp_path / "base" / f"run-{seed}")
    (base,) = sweep_report.table(sweep_runs.read_grid(tmp_path))
    interval = (base.exact_match_low, base.exact_match_high)
    assert interval == pytest.approx((0.54115, 0.96457), abs=1e-5)


def test_variants_with_other_cells_than_the_base_are_named(grid: Path) -> None:
    shutil.rmtree(grid / "worse" / "seed1-fold0")
    _leave(grid, "more", 0, [], [1], [1])
    _leave(grid, "more", 1, [], [1], [1])
    _leave(grid, "more", 2, [], [1], [1])
    runs = sweep_runs.read_grid(grid)
    assert sweep_report.notes(runs)[1:] == [
        "These have other seeds and folds than base; the differences are over those in common: "
        "more (2 in common), other_seed (0 in common), worse (1 in common)."
    ]
    # Without a base there is nothing to compare.
    assert sweep_report.notes([run for run in runs if run.variant != "base"]) == []


def test_the_interval_of_an_unfinished_sweep_counts_each_image_once(tmp_path: Path) -> None:
    """Two folds of seed 0 and one of seed 1: twenty images, of which ten are read twice."""
    for variant, lost in (("base", []), ("worse", [1, 2, 3, 4])):
        for seed, fold in ((0, 0), (0, 1), (1, 0)):
            _leave(tmp_path, variant, seed, lost, [1], [1], fold=fold)
    _, worse = sweep_report.table(sweep_runs.read_grid(tmp_path))
    assert worse.difference == -12 / 30
    # Over twenty images: four lost twice, four once.
    values = [-2] * 4 + [-1] * 4 + [0] * 12
    draws = np.random.default_rng(5).choice(values, (40_000, 20)).sum(1) / 30
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (worse.difference_low, worse.difference_high) == pytest.approx((low, high), abs=0.035)


def test_variants_of_variants_and_every_goal_have_their_names(tmp_path: Path) -> None:
    for variant in ("base", "wide/base", "wide/drop"):
        _leave(tmp_path, variant, 0, [1], [1], [1])
    runs = sweep_runs.read_grid(tmp_path, 0.996)
    rows = sweep_report.table(runs)
    assert {row.variant for row in rows} == {"base", "wide/base", "wide/drop"}
    assert "| to 99.6%: median" in sweep_report.to_markdown(runs, rows, 0.996)


def test_a_share_to_reach_is_refused_where_it_has_no_effect(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", str(trained), "--reach", "0.5"]) == 2
    assert "--reach works only for the report of a sweep" in capsys.readouterr().err


def test_an_image_counts_once_if_only_some_runs_list_their_readings(tmp_path: Path) -> None:
    """As when a file was removed. Both seeds read the same ten images and misread all."""
    for seed in (0, 1):
        _leave(tmp_path, "base", seed, [], [1], [1])
        _leave(tmp_path, "none", seed, range(10), [1], [0])
    _leave_readings(tmp_path / "none" / "seed0-fold0", range(10), "a")
    _, row = sweep_report.table(sweep_runs.read_grid(tmp_path))
    assert row.difference == -1
    # Wilson's interval of 0 of 10 ends at z^2 / (10 + z^2) with z = 1.96: 3.8415 / 13.8415.
    assert (row.exact_match_low, row.exact_match_high) == pytest.approx((0, 0.27753), abs=1e-5)


def test_the_report_says_what_is_scored_compared_and_left_out(grid: Path) -> None:
    (grid / "worse" / "seed1-fold0" / "result.json").unlink()
    (grid / "worse" / "seed1-fold0" / "failed.txt").touch()
    main.main(["report", str(grid)])
    text = (grid / "report.md").read_text()
    assert "Exact match is on the validation part" in text
    assert "number of comparisons (1)" in text  # `other_seed` has no cell in common with the base
    assert "they have no result: worse/seed1-fold0 (failed)." in text


def test_variants_with_two_names_and_a_test_part_are_no_schemes(grid: Path) -> None:
    (grid / "dropout").mkdir()
    (grid / "worse").rename(grid / "dropout" / "none")
    (grid / "dropout" / "none" / "seed0-fold0" / "test.json").write_text("{}")
    main.main(["report", str(grid)])
    assert "| dropout/none |" in (grid / "report.md").read_text()
