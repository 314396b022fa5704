import csv
import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crnn_jax.analysis import scheme_report
from crnn_jax.cli import main
from crnn_jax.errors import RunError
from crnn_jax.inference import held_out, metrics
from crnn_jax.runs.result import Result
from crnn_jax.runs.run_dir import RunDir

RESULT = Result(
    exact_match=0.0, exact_match_95=[0.0, 1.0], cer=0.0, char_accuracy=1.0, num_exact=0,
    num_examples=10, num_chars=50, val_loss=0.1, best_epoch=4, epochs_run=4, seconds=40.0, seed=0,
    params_sha256="", data_name="set", fingerprint="f" * 64, num_train=90, num_val=10,
)  # fmt: skip


def _scores(
    num_examples: int, labeled: Any, folded: Any, merged: Any, **changes: Any
) -> dict[Any, Any]:
    scores = {"labeled": labeled, "case_folded": folded, "merged": merged}
    return {
        "data_name": "set",
        "fingerprint": "f" * 64,
        "files_sha256": "a" * 64,
        "num_examples": num_examples,
        "scores": {
            way: {"num_exact": n, "exact_match": n / num_examples, "exact_match_95": [0.0, 1.0]}
            for way, n in scores.items()
        },
        **changes,
    }


def _leave(folder: Path, scheme: Any, labels: Any, seed: int, *counts: Any, **changes: Any) -> None:
    path = folder / scheme / labels / f"seed{seed}-fold0"
    path.mkdir(parents=True)
    run = RunDir(path)
    run.write_json("test.json", _scores(*counts, **changes))
    run.write_json("result.json", dataclasses.asdict(RESULT))
    data = {"dir": scheme, "train_size": labels, "width": len(scheme), "unlabeled": ""}
    run.write_json("config.json", {"seed": seed, "data": data, "train": {"epochs": 4}})


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two schemes; `easy` has no 500 labels. Of cs4243, a run with 50 labels is not finished."""
    _leave(tmp_path, "easy", "50", 0, 20, 10, 14, 15)
    _leave(tmp_path, "easy", "50", 1, 20, 12, 14, 15)
    _leave(tmp_path, "easy", "100", 0, 20, 16, 18, 18)
    _leave(tmp_path, "easy", "all", 0, 20, 20, 20, 20)
    _leave(tmp_path, "cs4243", "50", 0, 40, 4, 4, 8)
    _leave(tmp_path, "cs4243", "50", 1, 40, 40, 40, 40)
    (tmp_path / "cs4243" / "50" / "seed1-fold0" / "result.json").unlink()
    _leave(tmp_path, "cs4243", "500", 0, 40, 8, 8, 10)
    _leave(tmp_path, "cs4243", "all", 0, 40, 20, 20, 22)
    zero = _scores(20, 2, 6, 8)
    zero["scores"]["form_given"] = {"num_exact": 9, "exact_match": 0.45, "exact_match_95": [0, 1]}
    record = {"schemes": {"easy": zero, "cs4243": _scores(40, 0, 0, 0)}, "command": []}
    (tmp_path / "zero_labels.json").write_text(json.dumps(record))
    return tmp_path


def test_rows_are_pooled_over_the_finished_runs(grid: Path) -> None:
    rows = {(row.scheme, row.labels, row.way): row for row in scheme_report.read(grid)}
    row = rows["easy", "50", "labeled"]
    assert (row.runs, row.num_exact, row.num_examples, row.exact_match) == (2, 22, 40, 22 / 40)
    # Both runs read the same 20 images.
    assert (row.exact_match_low, row.exact_match_high) == metrics.wilson_interval(11, 20)
    assert rows["easy", "50", "merged"].num_exact == 30
    assert rows["cs4243", "50", "labeled"].num_exact == 4
    assert rows["easy", "0", "case_folded"].exact_match == 6 / 20
    assert rows["easy", "0", "form_given"].num_exact == 9
    # Three ways for eight cells, and one more.
    assert len(rows) == 3 * 8 + 1


def test_means_weigh_schemes_alike_and_are_given_without_the_hardest(grid: Path) -> None:
    found = {(m.way, m.labels): m for m in scheme_report.means(scheme_report.read(grid))}
    mean = found["labeled", "50"]
    assert (mean.schemes, mean.exact_match) == (2, pytest.approx((22 / 40 + 4 / 40) / 2))
    assert mean.without_hardest == 22 / 40
    assert (found["labeled", "500"].schemes, found["labeled", "500"].without_hardest) == (1, None)
    assert found["case_folded", "all"].exact_match == pytest.approx((1 + 0.5) / 2)


def test_the_command_writes_tables_csv_and_curves(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", str(grid)]) == 0
    printed = capsys.readouterr().out
    assert (grid / "report.md").read_text() == printed
    lines = printed.splitlines()
    start = lines.index("Exact match as labeled:")
    assert lines[start + 2] == (
        "| scheme | 0 labels | 50 labels | 100 labels | 500 labels | all labels |"
    )
    hard, easy, mean, without = lines[start + 4 : start + 8]
    assert hard.startswith("| cs4243 | 0.0 [0.0, 8.8] | 10.0 [")
    # Wilson's 95 % interval of 22 of 40 is 39.8 to 69.3.
    assert easy.startswith("| easy | 10.0 [2.8, 30.1] | 55.0 [34.2, 74.2] | 80.0 [")
    assert " | - | 100.0 [83.9, 100.0] |" in easy
    assert (
        mean == "| mean (number of schemes) | 5.0 (2) | 32.5 (2) | 80.0 (1) | 20.0 (1) | 75.0 (2) |"
    )
    assert without == "| mean without cs4243 | 10.0 | 55.0 | 80.0 | - | 100.0 |"
    assert "| easy | 45.0 [25.8, 65.8] |" in printed
    with (grid / "report.csv").open() as file:
        assert sum(row["way"] == "merged" for row in csv.DictReader(file)) == 8
    for way in metrics.WAYS:
        with Image.open(grid / f"report_{way}.png") as image:
            assert image.width > 500


def test_curves_have_a_line_for_each_scheme_and_the_mean(grid: Path) -> None:
    labels, lines = scheme_report.curves(scheme_report.read(grid), "labeled")
    assert labels == ["0", "50", "100", "500", "all"]
    assert lines == {
        "cs4243": {"0": 0.0, "50": 0.1, "500": 0.2, "all": 0.5},
        "easy": {"0": 0.1, "50": 0.55, "100": 0.8, "all": 1.0},
        "mean": {"0": 0.05, "50": pytest.approx(0.325), "100": 0.8, "500": 0.2, "all": 0.75},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0" * 64}, "its images differ"),
        ({"files_sha256": "0" * 64}, "its test part differs"),
    ],
)
def test_runs_of_a_scheme_have_the_same_test_part(
    grid: Path, changes: dict[str, str], message: str
) -> None:
    _leave(grid, "easy", "10", 0, 20, 1, 1, 1, **changes)
    with pytest.raises(RunError, match=f"easy with 10 labels: {message}"):
        scheme_report.read(grid)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("train", {"epochs": 8}, r"train\.epochs is 4 in .*cs4243/50/.* and 8 in .*easy/50/"),
        ("data", {"unlabeled": "rest"}, r"data\.unlabeled is '' in .* and 'rest' in "),
        ("data", {"crop": True}, r"data\.crop is False in .* and True in "),
        ("optimizer", {"name": "sgd"}, r"optimizer\.name is 'absent' in .* and 'sgd' in "),
    ],
)
def test_runs_with_a_number_of_labels_are_of_one_recipe(
    grid: Path, section: str, changes: dict[str, Any], message: str
) -> None:
    path = grid / "easy" / "50" / "seed0-fold0" / "config.json"
    values = json.loads(path.read_text())
    values[section] = values.get(section, {}) | changes
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=f"with 50 labels were not trained alike: {message}"):
        scheme_report.read(grid)


def test_a_record_of_an_earlier_version_is_of_the_same_recipe(grid: Path) -> None:
    path = grid / "easy" / "50" / "seed0-fold0" / "config.json"
    values = json.loads(path.read_text())
    del values["data"]["unlabeled"]  # a key that did not exist then
    path.write_text(json.dumps(values))
    assert scheme_report.read(grid)


def test_a_record_that_contradicts_itself_or_is_damaged_is_named(grid: Path) -> None:
    _leave(grid, "easy", "10", 0, 20, 21, 1, 1, scores=_scores(20, 20, 1, 1)["scores"])
    path = grid / "easy" / "10" / "seed0-fold0" / "test.json"
    stored = json.loads(path.read_text())
    stored["scores"]["labeled"]["num_exact"] = 21
    path.write_text(json.dumps(stored))
    with pytest.raises(RunError, match="easy with 10 labels: num_exact is more"):
        scheme_report.read(grid)
    path.write_text("{}")
    with pytest.raises(RunError, match=r"seed0-fold0/test\.json"):
        scheme_report.read(grid)


def test_a_directory_without_runs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished runs"):
        scheme_report.read(tmp_path)
    assert not scheme_report.is_scheme_sweep(tmp_path)


def test_the_three_ways_to_compare() -> None:
    truths = ["aB0", "Oil", "q1", "x"]
    readings = ["aB0", "0I1", "QL", "y"]
    record = held_out.score("set", "f" * 64, ["2", "1"] * 2, truths, readings)
    scores: Any = record["scores"]
    # The first matches as labeled; one more case-folded; merged, also oil = 011 and q1 = ql.
    assert [scores[way]["num_exact"] for way in metrics.WAYS] == [1, 1, 3]
    assert held_out.match(["Ab", "a"], ["aB", "b"], "case_folded")["num_exact"] == 1


def test_the_digest_of_a_test_part_does_not_depend_on_order() -> None:
    lengths = [(1).to_bytes(8, "little"), (2).to_bytes(8, "little")]
    expected = hashlib.sha256(lengths[0] + b"a" + lengths[1] + b"bc").hexdigest()
    assert held_out.files_sha256(["bc", "a"]) == held_out.files_sha256(["a", "bc"]) == expected


def test_a_report_imports_no_jax() -> None:
    code = "import sys, crnn_jax.analysis.scheme_report; assert 'jax' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
