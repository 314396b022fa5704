import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.analysis import label_audit
from crnn_jax.cli import main
from crnn_jax.errors import RunError
from crnn_jax.runs.result import Answer
from crnn_jax.runs.run_dir import RunDir
from tests.analysis.sweep_report_test import RESULT
from tests.helpers.fixtures import MakeConfig


@pytest.fixture
def grid(tmp_path: Path, tiny_config: MakeConfig) -> Path:
    """Two seeds of two folds of two images each; the label of 1.png is wrong."""
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((20, 40), 60 * i, np.uint8)).save(folder / f"{i}.png")
    answers = {
        (0, 0): [("0.png", "ab", "ab", 0.9, 0.1), ("1.png", "cd", "ce", 0.8, 6.0)],
        (0, 1): [("2.png", "ef", "ef", 0.9, 0.2), ("3.png", "gh", "g", 0.4, 1.0)],
        (1, 0): [("0.png", "ab", "ab", 0.9, 0.1), ("1.png", "cd", "ce", 0.6, 4.0)],
        (1, 1): [("2.png", "ef", "ef", 0.9, 0.2), ("3.png", "gh", "gh", 0.7, 0.5)],
    }
    for (seed, fold), rows in answers.items():
        run = RunDir(tmp_path / "grid" / "base" / f"seed{seed}-fold{fold}")
        run.open(tiny_config(data__dir=str(folder)))
        run.write_csv("readings.csv", Answer._fields, rows)
        run.write_json("result.json", dataclasses.asdict(RESULT))
    return tmp_path / "grid"


def test_ranks_by_the_mean_loss_of_the_label(grid: Path) -> None:
    doubts = label_audit.rank(grid)
    assert [doubt.file for doubt in doubts] == ["1.png", "3.png", "2.png", "0.png"]
    worst, second = doubts[:2]
    assert worst == ("1.png", "cd", 5.0, 2, 2, "ce", pytest.approx(0.7))
    # One of the two models reads the label; the reading is that of the other.
    assert second == ("3.png", "gh", 0.75, 2, 1, "g", 0.4)


def test_the_command_writes_csv_and_contact_sheet(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["audit", str(grid), "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert (
        "1.png: labeled cd; 2 of 2 models read it differently, for example as ce; loss 5.00" in out
    )
    assert "2.png" not in out  # no model disagrees
    assert "more with smaller losses" not in out
    with (grid / "audit.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["1.png", "3.png", "2.png", "0.png"]
    with Image.open(grid / "audit.png") as sheet:
        pixels = np.asarray(sheet)
    # Each image has one gray level: 60, 180, 120 in the order of the ranking.
    assert [pixels[10, x].tolist() for x in (15, 225, 435)] == [[g] * 3 for g in (60, 180, 120)]
    assert main.main(["audit", str(grid), "--top", "1"]) == 0
    assert "\n... and 1 more with smaller losses, in audit.csv" in capsys.readouterr().out  # 3.png


def test_runs_inside_of_a_run_are_not_audited(grid: Path) -> None:
    """`robustness --adapt` leaves finished runs, on other data, in RUN/robustness/NAME/run."""
    inner = RunDir(grid / "base" / "seed0-fold0" / "robustness" / "turn" / "run")
    inner.workdir.mkdir(parents=True)
    inner.write_json("result.json", {**dataclasses.asdict(RESULT), "fingerprint": "0"})
    assert len(label_audit.rank(grid)) == 4
    assert label_audit.data_of(grid).dir.endswith("set")


def test_one_run_is_audited(grid: Path) -> None:
    doubts = label_audit.rank(grid / "base" / "seed1-fold0")
    assert [(doubt.file, doubt.readers) for doubt in doubts] == [("1.png", 1), ("0.png", 1)]


def test_moved_data_are_found_with_data(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").rename(tmp_path / "moved")
    assert main.main(["audit", str(grid)]) == 2
    err = capsys.readouterr().err
    assert "1.png" in err
    assert "--data" in err
    assert (grid / "audit.csv").exists()
    assert main.main(["audit", str(grid), "--data", str(tmp_path / "moved")]) == 0


def test_a_directory_without_readings_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished runs"):
        label_audit.rank(tmp_path)


def test_runs_that_do_not_belong_together_are_refused(grid: Path) -> None:
    path = grid / "base" / "seed0-fold0"
    shutil.copytree(path, grid / "other" / "seed0-fold0")
    with pytest.raises(RunError, match="contains the variants base, other"):
        label_audit.rank(grid)
    (grid / "other").rename(grid / "x")
    shutil.copytree(path.parent, grid / "x" / "base")
    shutil.rmtree(grid / "x" / "seed0-fold0")
    with pytest.raises(RunError, match="contains the variants base, x/base"):
        label_audit.rank(grid)
    shutil.rmtree(grid / "x")
    RunDir(path).write_json("result.json", {**dataclasses.asdict(RESULT), "fingerprint": "0"})
    with pytest.raises(RunError, match="different data"):
        label_audit.rank(grid)


@pytest.mark.parametrize(
    "text", [None, "file,truth\n", "file,truth,reading,confidence,loss\na,b,c,1,x\n"]
)
def test_readings_that_are_missing_or_damaged_are_named(grid: Path, text: str | None) -> None:
    path = grid / "base" / "seed0-fold0" / "readings.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RunError, match=r"seed0-fold0.readings\.csv"):
        label_audit.rank(grid)


def test_an_audit_imports_no_jax() -> None:
    code = "import sys, crnn_jax.analysis.label_audit; assert 'jax' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_readings_of_a_run_hold_every_validation_image(trained: Path) -> None:
    with (trained / "readings.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads((trained / "result.json").read_text())
    assert len(rows) == result["num_examples"]
    assert sum(row["truth"] == row["reading"] for row in rows) == result["num_exact"]
    assert np.mean([float(row["loss"]) for row in rows]) == pytest.approx(result["val_loss"])


def test_generated_images_have_right_labels(
    grid: Path, capsys: pytest.CaptureFixture[str], tiny_config: MakeConfig
) -> None:
    for path in grid.glob("base/*/config.json"):
        values = config_lib.to_dict(tiny_config(data__source="synthetic"))
        path.write_text(json.dumps(values))
    assert main.main(["audit", str(grid)]) == 0
    assert "there is no audit.png, because the images are generated" in capsys.readouterr().out
    assert (grid / "audit.csv").exists()


def test_labels_of_every_script_can_be_told_apart() -> None:
    """Letters that the font lacks are written as escapes."""
    typeface = label_audit._typeface()
    letters = "ab\u0436\u0448\u05d0\u05d1\u4e2d\u6587"
    shown = [typeface.drawable(letter) for letter in letters]
    assert shown[:6] == list(letters[:6])
    assert shown[6:] == [r"\u4e2d", r"\u6587"]
    assert len({bytes(typeface.font.getmask(text)) for text in shown}) == 8
