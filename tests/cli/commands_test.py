"""The command line. Each command runs once in a subprocess; other calls run in this process."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.data.synthetic import presets
from crnn_jax.models import crnn
from crnn_jax.training import train
from tests.helpers.command_line import ROOT, call, run
from tests.helpers.images import draw
from tests.helpers.quiet import BARE


def test_run_py_trains(tmp_path: Path, captchas: Path) -> None:
    command = (
        "run.py", "--config", "experiments/tiny.py", f"--config.data.dir={captchas}",
        "--config.train.epochs=2", "--workdir", tmp_path / "run", "--config.model.lstm_units=(8,)",
        "--config.data.width=auto", *(f"--config.{key}={value}" for key, value in BARE.items()),
    )  # fmt: skip
    done = run(*command)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # Not a terminal: one line per epoch and no control characters.
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert any(line.startswith("total") for line in lines)
    assert "read at 96x16 pixels" in done.stdout  # the aspect ratio is 4: see resolve_test.py
    # The name of the training data precedes the scores.
    assert any(re.match(r"\w+ \(fingerprint [0-9a-f]{12}\): exact match", x) for x in lines)
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
        (["--config.grid.seeds=(5,)"], "--config.grid is for sweeps"),
        (["--config=experiments/tiny.py:small"], "accepts no argument after the colon"),
    ],
)
def test_run_py_answers_a_mistake_in_a_few_lines(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    workdir = tmp_path / "run"
    done = run("run.py", "--config", "experiments/tiny.py", "--workdir", workdir, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not workdir.exists()


@pytest.mark.long
def test_run_py_runs_one_variant_of_a_grid(tmp_path: Path, captchas: Path) -> None:
    done = run(
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
    done = run("run.py", *flags)
    assert done.returncode != 0
    assert "experiments/base.py" in done.stderr


@pytest.mark.parametrize("command", ["strength", "robustness"])
def test_the_command_of_version_0_1_still_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    status, _, err = call(capsys, command, tmp_path)
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
        assert call(capsys, "train", tmp_path, *arguments)[0] == 0
    assert allowed == [False, True]


@pytest.mark.parametrize("command", [[], ["train"]])
def test_help_lists_new_names_only(capsys: pytest.CaptureFixture[str], command: Any) -> None:
    with pytest.raises(SystemExit):
        main.main([*command, "--help"])
    text = capsys.readouterr().out
    assert ("--allow-environment-change" if command else "robustness") in text
    assert not re.search(r"(?m)elsewhere|^ +strength\b", text)


def test_evaluate_text_and_json(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = json.loads((trained / "result.json").read_text())
    status, out, err = call(capsys, "evaluate", trained, "--format", "json")
    values = json.loads(out)
    assert (status, err) == (0, "")
    for name in ("exact_match", "cer", "num_examples", "best_epoch", "seed", "fingerprint",
                 "temperature"):  # fmt: skip
        assert values[name] == result[name], name
    assert values["calibration_error"] == pytest.approx(result["calibration_error"], abs=1e-5)
    assert set(values["coverage"]) == {"0.99", "0.999"}
    # These describe the scored weights, which with --epoch are not those of the result.
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "result.json").write_text(
        json.dumps({**result, "params_sha256": "0" * 64, "best_epoch": 1})
    )
    _, out, _ = call(capsys, "evaluate", tmp_path / "copy", "--format", "json")
    values = json.loads(out)
    assert values["params_sha256"] == crnn.params_sha256(crnn_jax.load(trained).params)
    assert (values["epoch"], values["best_epoch"]) == (result["best_epoch"], 1)
    shutil.rmtree(tmp_path / "copy")

    status, out, err = call(capsys, "evaluate", trained, "--data", captchas)
    assert status == 0
    assert "trained on 36 of these 40" in err
    assert "exact match" in out
    assert f"temperature {result['temperature']:.2f}" in out
    assert "for an accuracy of 99.9%: " in out

    # Under other names, the same images are another data set.
    for path in captchas.iterdir():
        shutil.copy(path, tmp_path / f"{path.stem}_1.png")
    _, out, err = call(capsys, "evaluate", trained, "--data", tmp_path, "--format", "json")
    assert json.loads(out)["num_examples"] == 40
    assert err == ""


def test_evaluate_reads_the_frame_of_the_user_s_choice(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("evaluate", trained, "--data", tmp_path, "--format", "json")
    draw("ab7").save(tmp_path / "cc.gif", save_all=True, append_images=[draw("cc")])
    status, _, err = call(capsys, *command)
    assert (status, "--frame" in err) == (2, True)
    expected = {f: crnn_jax.load(trained).predict(draw(t))[0].text
                for f, t in (("first", "ab7"), ("last", "cc"))}  # fmt: skip
    assert expected["first"] != "cc"
    for frame, text in expected.items():
        status, out, _ = call(capsys, *command, "--frame", frame)
        misreads = [misread["reading"] for misread in json.loads(out)["misreads"]]
        assert (status, misreads) == (0, [] if text == "cc" else [text])
    status, _, err = call(capsys, "evaluate", trained, "--frame", "last")
    assert (status, "--data" in err) == (2, True)


def test_evaluate_reports_what_it_leaves_out(
    trained: Path, captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(captchas.iterdir())[:3]:
        shutil.copy(path, tmp_path)
        name = path.name
    (tmp_path / "labels.csv").write_text(f"file,label\n{name},{name[:-4]}\ngone.png,abc\n")
    status, out, err = call(capsys, "evaluate", trained, "--data", tmp_path, "--format", "json")
    assert status == 0
    assert json.loads(out)["num_examples"] == 1
    assert "warning: 1 row of labels.csv without an image: left out, such as gone.png\n" in err
    assert "warning: 2 images without a label in labels.csv: left out, such as " in err


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_directory_that_is_no_run_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str
) -> None:
    extra = ["x.png"] if verb == "predict" else []
    status, out, err = call(capsys, verb, tmp_path, *extra)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "config.json" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("report nope", "there is no directory nope"),
        ("audit nope", "there is no directory nope"),
        ("inspect nope", "there is no folder nope"),
        ("pack nope out", "there is no folder nope"),
        ("export nope --format onnx", "nope is not a run directory: it has no config.json"),
        ("export general --format onnx", "choose a folder with --out"),
        ("train images", "--config.data.dir=images`, or with crnn_jax.train in Python"),
        ("train nope", "--config.data.dir=FOLDER`"),
    ],
)
def test_what_does_not_exist_is_named(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    status, out, err = call(capsys, *command.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert "source=synthetic" not in err


@pytest.mark.parametrize("command", ["report", "audit", "train", "reproduce", "robustness"])
@pytest.mark.parametrize("reader", ["general", "an export", "hf://me/reader"])
def test_a_reader_without_a_record_is_refused_by_name(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    reader: str,
) -> None:
    """An export has a config.json, so it looks like a run that was not started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "an export").mkdir()
    for name in ("config.json", "reader.json", "model.safetensors"):
        (tmp_path / "an export" / name).write_text(json.dumps(config_lib.defaults()))
    status, out, err = call(capsys, command, reader)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {reader} is ")
    assert "no record of its training" in err
    assert len(list((tmp_path / "an export").iterdir())) == 3  # nothing was trained there


def help_of(command: str) -> str:
    """Returns the help of a command in one line."""
    return " ".join(main.parser()[1].choices[command].format_help().split())


@pytest.mark.parametrize("command", ["predict", "export", "push", "label"])
def test_help_says_which_readers_a_command_takes(command: str) -> None:
    for reader in ("a run directory", "general", "a safetensors export", "hf://OWNER/NAME"):
        assert reader in help_of(command)


def test_help_names_all_styles() -> None:
    style = next(row for row in config_lib.reference() if row[0] == "data.style")
    for name in [*presets.STYLES, "wide", ".json", ".npz"]:
        assert name in help_of("generate")
        assert name in style[-1]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"crnn-jax {crnn_jax.__version__}\n"


def test_the_public_names_are_listed() -> None:
    assert set(crnn_jax.__all__) <= set(dir(crnn_jax))
    assert {"__version__", "__doc__"} <= set(dir(crnn_jax))


def test_help_needs_no_jax() -> None:
    code = "import sys; sys.argv = ['x', '-h']; import crnn_jax.cli.main as m\ntry: m.main()\n"
    code += "except SystemExit: pass\nassert 'jax' not in sys.modules"
    assert run("-c", code).returncode == 0


def test_keys_lists_every_declared_key_with_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["keys"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert names == list(config_lib.flatten(config_lib.defaults()))
    assert main.main(["keys", "train.stop_after"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| train.stop_after | 0 | of type int, from 0 to 1000000 | Stop after this many epochs of "
        "the schedule; 0 for all. |"
    ]
    assert main.main(["keys", "nothing"]) == 2
    assert "no config key begins with 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("predict", "nowhere", "x.png"), "[False]"),
        (("train", "nowhere"), "[False]"),
        (("label", "nowhere"), "[False]"),
        (("report", "nowhere"), "[]"),
    ],
)
def test_the_compiler_starts_before_jax_is_imported(
    arguments: tuple[str, ...], expected: str
) -> None:
    code = (
        "import sys; from crnn_jax.cli import main; from crnn_jax.runtime import native\n"
        "native.start = lambda: calls.append('jax' in sys.modules)\n"
        f"calls = []; main.main({list(arguments)}); print(calls)"
    )
    done = run("-c", code)
    assert done.stdout.splitlines()[-1] == expected, done.stderr
