"""The command line. Each command runs once in a subprocess; other calls run in this process."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.data import normalization
from crnn_jax.interop import imported_run
from crnn_jax.models import crnn
from crnn_jax.training import train
from experiments import tiny
from tests.helpers.images import draw

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, **options
    )


def _call(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, Any, Any]:
    status = main.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_run_py_trains_and_a_second_call_finds_the_run_finished(
    tmp_path: Path, captchas: Path
) -> None:
    command = (
        "run.py", "--config", "experiments/tiny.py", f"--config.data.dir={captchas}",
        "--config.train.epochs=2", "--workdir", tmp_path / "run", "--config.model.lstm_units=(8,)",
        "--config.data.width=auto",
    )  # fmt: skip
    first = _run(*command)
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    # Not a terminal: one line per epoch and no control characters.
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "\r" not in first.stdout
    assert "\x1b" not in first.stdout
    assert first.stderr == ""
    assert any(line.startswith("total") for line in lines)
    assert "read at 96x16 pixels" in first.stdout  # the aspect ratio is 4: see resolve_test.py
    # The name of the training data precedes the scores.
    assert any(re.match(r"\w+ \(fingerprint [0-9a-f]{12}\): exact match", x) for x in lines)
    second = _run(*command)
    assert second.returncode == 0
    assert "is finished" in second.stdout
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.optimizer.learning_rat=1"], "did you mean optimizer.learning_rate?"),
        (["--config.data.wdth", "3"], "did you mean data.width?"),
        (["--lr=0.1"], "did you mean --config.optimizer.learning_rate?"),
        (["--config.data.standardise=set"], "data.standardise was renamed to data.normalize"),
        (["--config.data.width=wide"], "invalid literal"),
        (["--config.model.dropout=1.5"], "model.dropout must be from 0 to 0.99"),
        (["--config.data.dir=/nowhere"], "--config.data.dir=FOLDER"),
        (["stray"], "flags only"),
        (["--config=experiments/ablations.py:no_flatstart"], "no variant 'no_flatstart'"),
        (["--config.grid.sedes=(5,)"], "did you mean grid.seeds?"),
    ],
)
def test_run_py_answers_a_mistake_in_a_few_lines(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    workdir = tmp_path / "run"
    done = _run("run.py", "--config", "experiments/tiny.py", "--workdir", workdir, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not workdir.exists()


@pytest.mark.long
def test_run_py_runs_one_variant_of_a_grid(tmp_path: Path, captchas: Path) -> None:
    done = _run(
        "run.py", "--config", "experiments/ablations.py:no_flat_start", "--config.grid.seeds=(5,)",
        f"--config.data.dir={captchas}", "--config.train.epochs=1", "--config.data.width=16",
        "--config.data.height=8", "--config.model.conv_features=(2,)",
        "--config.model.lstm_units=(2,)", "--workdir", tmp_path / "g",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "g" / "no_flat_start" / "seed5-fold0" / "result.json").exists()


def test_ci_runs_the_readme_s_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] in (ROOT / "README.md").read_text().splitlines()


@pytest.mark.parametrize("flags", [[], ["--elsewhere"], ["--allow-environment-change"]])
def test_run_py_without_a_config_says_which_to_take(flags: Any) -> None:
    """Also with the old name of the flag, the only error is the missing config."""
    done = _run("run.py", *flags)
    assert done.returncode != 0
    assert "experiments/base.py" in done.stderr


@pytest.mark.parametrize("command", ["strength", "robustness"])
def test_the_command_of_version_0_1_still_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    status, _, err = _call(capsys, command, tmp_path)
    assert status == 2
    assert "config.json" in err


@pytest.mark.parametrize("flag", ["--elsewhere", "--allow-environment-change"])
def test_the_flag_of_version_0_1_still_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_lib.defaults()))
    allowed: list[bool] = []
    monkeypatch.setattr(train, "train_all", lambda *given: allowed.append(given[2]) or [])
    for arguments in ([], [flag]):
        assert _call(capsys, "train", tmp_path, *arguments)[0] == 0
    assert allowed == [False, True]


@pytest.mark.parametrize("command", [[], ["train"]])
def test_help_lists_new_names_only(capsys: pytest.CaptureFixture[str], command: Any) -> None:
    with pytest.raises(SystemExit):
        main.main([*command, "--help"])
    text = capsys.readouterr().out
    assert ("--allow-environment-change" if command else "robustness") in text
    assert not re.search(r"(?m)elsewhere|^ +strength\b", text)


def test_predict_in_a_process_of_its_own(trained: Path, captchas: Path) -> None:
    path = sorted(captchas.iterdir())[0]
    done = _run("-m", "crnn_jax", "predict", trained, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\t")[0] == str(path)


def test_predict_prints_files_folders_and_a_list_in_the_order_given(
    trained: Path,
    captchas: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = sorted(map(str, captchas.iterdir()))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{paths[5]}\n\n{paths[4]}\n"))
    status, out, _ = _call(capsys, "predict", trained, paths[7], captchas, "-", "--format", "csv")
    assert status == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["path", "text", "confidence", "answered"]
    assert [row[0] for row in rows[1:]] == [paths[7], *paths, paths[5], paths[4]]
    assert all(0 <= float(row[2]) <= 1 for row in rows[1:])


def test_predict_formats_agree(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(map(str, captchas.iterdir()))[:3]
    outs = {
        form: _call(capsys, "predict", trained, *paths, "--format", form)[1]
        for form in ("text", "json", "csv")
    }
    from_json = json.loads(outs["json"])
    assert [row["path"] for row in from_json] == paths
    texts = [row["text"] for row in from_json]
    assert [line.split("\t")[1] for line in outs["text"].splitlines()] == texts
    assert [row["text"] for row in csv.DictReader(io.StringIO(outs["csv"]))] == texts


def test_predict_goes_on_after_a_file_that_cannot_be_read(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = sorted(map(str, captchas.iterdir()))[:2]
    (tmp_path / "bad.png").write_text("no")
    (tmp_path / "none").mkdir()
    arguments = [good[0], tmp_path / "bad.png", tmp_path / "none", "/nowhere.png", good[1]]
    status, out, err = _call(capsys, "predict", trained, *arguments, "--format", "json")
    assert status == 1
    assert [row["path"] for row in json.loads(out)] == good
    assert [line.split(": ")[1] for line in err.splitlines()] == list(map(str, arguments[1:4]))


def test_predict_uses_those_of_the_allowed_symbols_that_the_run_knows(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", trained, captchas, "--allowed")
    _, expected, silent = _call(capsys, *arguments, "7")
    status, out, err = _call(capsys, *arguments, "0123456789")
    assert (status, out, silent) == (0, expected, "")
    assert err == ("note: the alphabet has no '012345689'; the other allowed symbols are used\n")
    status, out, err = _call(capsys, *arguments, "XYZ")
    assert (status, out) == (2, "")
    assert "the alphabet has no 'XYZ'" in err


@pytest.mark.parametrize("name", ["-ab7.png", "--ab7.png", "-h.png", "--epoch.png", "-"])
def test_names_that_begin_with_a_minus_are_paths(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("x.png\n"))
    for file in {name, "x.png"}:
        draw("ab7").save(tmp_path / file, "PNG")
    status, out, _ = _call(capsys, "predict", trained, name, "x.png", "--format", "json")
    assert status == 0
    # A minus alone still means the list on the standard input.
    first = "x.png" if name == "-" else os.path.join(".", name)
    assert [row["path"] for row in json.loads(out)] == [first, "x.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO("x.png\n"))
    status, out, _ = _call(capsys, "predict", "--format", "csv", trained, "--", name, "x.png")
    assert status == 0
    assert len(out.splitlines()) == 3


def test_predict_reads_the_frame_of_the_user_s_choice(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pictures = [draw("ab7"), draw("cc")]
    path = tmp_path / "x.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    for frame, picture in (("first", pictures[0]), ("last", pictures[1])):
        picture.save(tmp_path / "x.png")
        _, expected, _ = _call(capsys, "predict", trained, tmp_path / "x.png")
        status, out, _ = _call(capsys, "predict", trained, path, "--frame", frame)
        assert status == 0
        assert out.split("\t")[1] == expected.split("\t")[1]
    status, _, err = _call(capsys, "predict", trained, path)
    assert status == 1
    assert "--frame" in err
    assert len(err.splitlines()) == 1


def test_predict_of_nothing_readable_is_still_whole_json(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = _call(capsys, "predict", trained, "/nowhere.png", "--format", "json")
    assert (status, json.loads(out)) == (1, [])


def test_evaluate_text_and_json(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = json.loads((trained / "result.json").read_text())
    status, out, err = _call(capsys, "evaluate", trained, "--format", "json")
    values = json.loads(out)
    assert (status, err) == (0, "")
    for name in ("exact_match", "cer", "num_examples", "best_epoch", "seed", "fingerprint",
                 "temperature"):  # fmt: skip
        assert values[name] == result[name], name
    assert values["calibration_error"] == pytest.approx(result["calibration_error"], abs=1e-5)
    assert set(values["coverage"]) == {"0.99", "0.999"}

    status, out, err = _call(capsys, "evaluate", trained, "--data", captchas)
    assert status == 0
    assert "trained on 36 of these 40" in err
    assert "exact match" in out
    assert f"temperature {result['temperature']:.2f}" in out
    assert "for an accuracy of 99.9%: " in out

    # Under other names, the same images are another data set.
    for path in captchas.iterdir():
        shutil.copy(path, tmp_path / f"{path.stem}_1.png")
    _, out, err = _call(capsys, "evaluate", trained, "--data", tmp_path, "--format", "json")
    assert json.loads(out)["num_examples"] == 40
    assert err == ""


def test_predict_explains_each_character_in_json(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted(captchas.iterdir())[0]
    _, out, _ = _call(capsys, "predict", trained, path, "--format", "json", "--explain")
    (row,) = json.loads(out)
    assert "".join(character["symbol"] for character in row["characters"]) == row["text"]
    assert set(row["characters"][0]) == {"symbol", "probability", "left", "right"}
    assert row["text"] in [other["text"] for other in row["alternatives"]]
    wish = ["--min-confidence", "1", "--format", "json", "--explain"]
    (blank,) = json.loads(_call(capsys, "predict", trained, path, *wish)[1])
    assert (blank["text"], blank["answered"], blank["characters"]) == ("", False, [])
    assert blank["alternatives"] == []
    status, _, err = _call(capsys, "predict", trained, path, "--explain")
    assert (status, err) == (2, "error: --explain needs --format json\n")


def test_readings_of_little_confidence_are_left_blank_and_flagged(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = _call(capsys, "predict", trained, captchas, "--format", "json")
    rows = json.loads(out)
    middle = sorted(row["confidence"] for row in rows)[20]
    wish = ["--min-confidence", middle]
    for form in ("json", "csv", "text"):
        status, out, _ = _call(capsys, "predict", trained, captchas, "--format", form, *wish)
        assert status == 0
        if form == "json":
            for old, new in zip(rows, json.loads(out), strict=True):
                answered = old["confidence"] >= middle
                assert new == {**old, "text": old["text"] if answered else "", "answered": answered}
        elif form == "csv":
            flags = [(row["text"], row["answered"]) for row in csv.DictReader(io.StringIO(out))]
            assert [flag for _, flag in flags].count("true") == 20
            assert {text for text, flag in flags if flag == "false"} == {""}
        else:
            assert [line.endswith("\tunanswered") for line in out.splitlines()].count(True) == 20


def test_evaluate_reports_what_it_leaves_out(
    trained: Path, captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(captchas.iterdir())[:3]:
        shutil.copy(path, tmp_path)
        name = path.name
    (tmp_path / "labels.csv").write_text(f"file,label\n{name},{name[:-4]}\ngone.png,abc\n")
    status, out, err = _call(capsys, "evaluate", trained, "--data", tmp_path, "--format", "json")
    assert status == 0
    assert json.loads(out)["num_examples"] == 1
    assert "warning: 1 row of labels.csv without an image: left out, such as gone.png\n" in err
    assert "warning: 2 images without a label in labels.csv: left out, such as " in err


def test_predict_and_evaluate_take_a_decoder(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--length", "2-3", "--allowed", "ab7"]
    _, out, _ = _call(capsys, "predict", trained, captchas, "--format", "csv", *told)
    texts = [row["text"] for row in csv.DictReader(io.StringIO(out))]
    assert {len(text) for text in texts} == {2, 3}
    assert set("".join(texts)) == set("ab7")
    by_position = ["--allowed", "a", "--allowed", "b7"]
    _, out, _ = _call(capsys, "predict", trained, captchas, "--format", "csv", *by_position)
    assert {row["text"] for row in csv.DictReader(io.StringIO(out))} == {"ab", "a7"}
    _, out, _ = _call(capsys, "evaluate", trained, "--data", captchas, "--length", "2-3")
    misreads = [line for line in out.splitlines() if " read as " in line]
    readings = [line.split(" read as ")[1].split(",")[0] for line in misreads]
    assert {len(reading) for reading in readings} <= {2, 3}
    assert len(readings) >= sum(len(path.stem) == 4 for path in captchas.iterdir())
    status, _, err = _call(capsys, "predict", trained, captchas, "--length", "3", "--beam", "4")
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be combined" in err
    with pytest.raises(SystemExit):
        main.main(["predict", str(trained), "x.png", "--length", "five"])
    assert "must be like 5 or 4-6, not 'five'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def both_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, which reads any of abAB in images of a given length."""
    values = tiny.get_config()
    values.update_from_flattened_dict({"data.alphabet": "abAB0O", "data.source": "folder"})
    config = config_lib.from_config_dict(values)
    model = crnn.build(config.model, 7, *normalization.plain(1))
    params = crnn.init(model, jax.random.key(3), config.data)
    run = tmp_path_factory.mktemp("both") / "run"
    imported_run.write(run, config, "abAB0O", normalization.plain(1), params, "", "nowhere")
    return run


def test_predict_reads_one_case_and_merges_look_alikes(
    both_cases: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def symbols(*flags: Any) -> set[Any]:
        wish = ["--length", "4", *flags, "--format", "csv"]
        status, out, _ = _call(capsys, "predict", both_cases, captchas, *wish)
        assert status == 0
        return set("".join(row["text"] for row in csv.DictReader(io.StringIO(out))))

    told = symbols()
    assert told & set("ab") or told & set("AB")
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
        _, out, _ = _call(capsys, "evaluate", both_cases, "--data", tmp_path, *flags)
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
    _, out, _ = _call(capsys, "evaluate", both_cases, *flags)
    assert "exact match as labeled 50.00%, case-folded 100.00%, with look-alikes merged" in out
    flags[3] = "A"
    _, out, _ = _call(capsys, "evaluate", both_cases, *flags)
    assert "as labeled" not in out
    status, _, err = _call(capsys, "evaluate", trained, "--merge", "0O,1")
    assert (status, err.count("\n")) == (2, 1)
    assert "merge: the group '1' has fewer than two symbols" in err
    with pytest.raises(SystemExit):
        main.main(["evaluate", str(trained), "--case", "Lower"])
    assert "--case" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_directory_that_is_no_run_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str
) -> None:
    extra = ["x.png"] if verb == "predict" else []
    status, out, err = _call(capsys, verb, tmp_path, *extra)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "config.json" in err


def test_help_needs_no_jax() -> None:
    code = "import sys; sys.argv = ['x', '-h']; import crnn_jax.cli.main as m\ntry: m.main()\n"
    code += "except SystemExit: pass\nassert 'jax' not in sys.modules"
    assert _run("-c", code).returncode == 0


def test_output_cut_off_by_its_reader_is_no_traceback(trained: Path, captchas: Path) -> None:
    command = f"{sys.executable} -m crnn_jax predict {trained} {captchas} | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert "Traceback" not in done.stderr


def test_keys_lists_every_declared_key_with_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["keys"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert names == list(config_lib.flatten(config_lib.defaults()))
    assert main.main(["keys", "train.epochs"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| train.epochs | 24 | of type int, from 1 to 1000000 | Epochs of the schedule. |"
    ]
    assert main.main(["keys", "nothing"]) == 2
    assert "no config key begins with 'nothing'" in capsys.readouterr().err
