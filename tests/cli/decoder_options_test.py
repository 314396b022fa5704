"""Options of `predict` and `evaluate` that constrain the text."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.data import normalization
from experiments import tiny
from tests.helpers import random_run
from tests.helpers.command_line import call
from tests.helpers.images import draw


def test_predict_and_evaluate_take_a_decoder(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--length", "2-3", "--allowed", "ab7"]
    _, out, _ = call(capsys, "predict", trained, captchas, "--format", "csv", *told)
    texts = [row["text"] for row in csv.DictReader(io.StringIO(out))]
    assert {len(text) for text in texts} == {2, 3}
    assert set("".join(texts)) == set("ab7")
    by_position = ["--allowed", "a", "--allowed", "b7"]
    _, out, _ = call(capsys, "predict", trained, captchas, "--format", "csv", *by_position)
    assert {row["text"] for row in csv.DictReader(io.StringIO(out))} == {"ab", "a7"}
    _, out, _ = call(capsys, "evaluate", trained, "--data", captchas, "--length", "2-3")
    misreads = [line for line in out.splitlines() if " read as " in line]
    readings = [line.split(" read as ")[1].split(",")[0] for line in misreads]
    assert {len(reading) for reading in readings} <= {2, 3}
    assert len(readings) >= sum(len(path.stem) == 4 for path in captchas.iterdir())
    status, _, err = call(capsys, "predict", trained, captchas, "--length", "3", "--beam", "4")
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be combined" in err
    with pytest.raises(SystemExit):
        main.main(["predict", str(trained), "x.png", "--length", "five"])
    assert "must be like 5 or 4-6 (a number or a range), not 'five'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def both_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, which reads any of abAB in images of a given length."""
    values = tiny.get_config()
    values.update_from_flattened_dict({"data.alphabet": "abAB0O", "data.source": "folder"})
    config = config_lib.from_config_dict(values)
    run = tmp_path_factory.mktemp("both") / "run"
    random_run.write(run, config, normalization.plain(1), "abAB0O", noise=0, seed=7)
    return run


def test_predict_reads_one_case_and_merges_look_alikes(
    both_cases: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def symbols(*flags: Any) -> set[Any]:
        wish = ["--length", "4", *flags, "--format", "csv"]
        status, out, _ = call(capsys, "predict", both_cases, captchas, *wish)
        assert status == 0
        return set("".join(row["text"] for row in csv.DictReader(io.StringIO(out))))

    told = symbols()
    # Otherwise the last two lines would show nothing.
    assert told & set("ab")
    assert told & set("ABO")
    assert symbols("--allowed", "ab", "--case", "upper") == set("AB")
    assert symbols("--allowed", "ab", "--case", "lower") == set("ab")
    assert symbols("--allowed", "AB", "--case", "lower") == set("ab")
    assert symbols("--allowed", "O", "--merge", "0O, 1Il") == set("0")
    assert not symbols("--case", "lower") & set("ABO")
    assert not symbols("--case", "upper") & set("ab")


def test_evaluate_reads_one_case_and_merges_look_alikes(
    trained: Path, both_cases: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    draw("AB").save(tmp_path / "AB.png")
    draw("ab").save(tmp_path / "ab.png")
    for case, letters in (("lower", "ab"), ("upper", "AB")):
        flags = ["--length", "2", "--allowed", "ab", "--case", case, "--format", "json"]
        _, out, _ = call(capsys, "evaluate", both_cases, "--data", tmp_path, *flags)
        values = json.loads(out)
        for misread in values["misreads"]:
            assert set(misread["reading"]) <= set(letters)
        assert len(values["misreads"]) >= 1
        matches = [values[f"exact_match_{name}"] for name in (
            "as_labeled", "case_folded", "look_alikes_merged")]  # fmt: skip
        wrong = [m for m in values["misreads"] if m["truth"].lower() != m["reading"].lower()]
        assert matches == [1 - len(values["misreads"]) / 2] + [1 - len(wrong) / 2] * 2
    # Both images contain a and b: the best text of this form is right with both cases or with none.
    flags = ["--allowed", "A", "--allowed", "B", "--data", str(tmp_path)]
    _, out, _ = call(capsys, "evaluate", both_cases, *flags)
    assert "exact match as labeled 50.00%, case-folded 100.00%, with look-alikes merged" in out
    flags[3] = "A"
    _, out, _ = call(capsys, "evaluate", both_cases, *flags)
    assert "as labeled" not in out
    status, _, err = call(capsys, "evaluate", trained, "--merge", "0O,1")
    assert (status, err.count("\n")) == (2, 1)
    assert "merge: the group '1' has fewer than two symbols" in err
    with pytest.raises(SystemExit):
        main.main(["evaluate", str(trained), "--case", "Lower"])
    assert "--case" in capsys.readouterr().err
