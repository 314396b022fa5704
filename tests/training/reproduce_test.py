import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training import reproduce, train
from tests.helpers.command_line import call
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


@pytest.fixture
def copies(tmp_path: Path, trained: Path) -> tuple[RunDir, RunDir]:
    """Two copies of a finished run's record, without its checkpoints."""
    for name in ("old", "new"):
        shutil.copytree(trained, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    return RunDir(tmp_path / "old"), RunDir(tmp_path / "new")


def _change(record: Any, name: str, change: Any) -> None:
    values = json.loads((record.workdir / name).read_text())
    change(values)
    record.write_json(name, values)


def test_a_run_trained_again_is_bit_identical(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_config: MakeConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train.train_and_evaluate(tiny_config({**QUIET, "train.epochs": 3}), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    monkeypatch.chdir(tmp_path)
    assert main.main(["reproduce", "run"]) == 0
    out = capsys.readouterr().out
    assert "the parameters are bit-identical" in out
    assert "the environment is the same" in out
    (workdir,) = (tmp_path / "runs").iterdir()
    first, second = (RunDir(path).result() for path in (tmp_path / "run", workdir))
    assert first.params_sha256 == second.params_sha256
    # Running it again compares with the existing run and trains nothing.
    assert main.main(["reproduce", "run"]) == 2
    assert "choose another --workdir" in capsys.readouterr().err


def test_a_run_is_not_compared_with_itself(copies: tuple[RunDir, RunDir]) -> None:
    workdir = copies[0].workdir
    with pytest.raises(RunError, match="is finished"):
        reproduce.again(workdir, workdir, None)


def test_the_time_that_steps_took_does_not_part_runs(copies: tuple[RunDir, RunDir]) -> None:
    _change(copies[1], "result.json", lambda values: values.update(params_sha256="0"))
    lines = copies[1].metrics.read_text().replace('"seconds": ', '"seconds": 1')
    copies[1].write_text("metrics.jsonl", lines)
    assert reproduce.compare(*copies) == (False, None, [])
    assert "the metrics do not differ" in str(reproduce.compare(*copies))


def test_the_first_step_and_metric_that_differ_are_named(copies: tuple[RunDir, RunDir]) -> None:
    _change(copies[1], "result.json", lambda values: values.update(params_sha256="0"))
    lines = [json.loads(line) for line in copies[1].metrics.read_text().splitlines()]
    # Step 180 is logged as a step and, with 45 steps an epoch, as epoch 4.
    at = [i for i, line in enumerate(lines) if line["step"] == 180]
    assert [set(lines[i]) & {"step_loss", "val_loss"} for i in at] == [{"step_loss"}, {"val_loss"}]
    lines[at[1]]["cer"] += 1e-16 + lines[at[1]]["cer"]
    lines[-1]["loss"] = 7.0
    copies[1].write_text("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    comparison = reproduce.compare(*copies)
    assert not comparison.identical
    assert "at step 180 (epoch 4), in cer" in str(comparison)
    lines[at[0]]["step_loss"] = 7.0
    copies[1].write_text("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert "at step 180 (epoch 4), in step_loss" in str(reproduce.compare(*copies))


def test_what_differs_in_the_environment_is_named(copies: tuple[RunDir, RunDir]) -> None:
    def change(values: Any) -> None:
        values["packages"]["jax"] = "0.1"
        values["cores"] = 96
        values["command"] = ["other"]

    _change(copies[1], "environment.json", change)
    environment = reproduce.compare(*copies).environment
    assert [line.partition(":")[0] for line in environment] == ["cores", "packages.jax"]
    assert environment[1].endswith("is now '0.1'")


def test_another_start_is_named(copies: tuple[RunDir, RunDir]) -> None:
    def change(values: Any) -> None:
        values["data"]["start_sha256"] = "0" * 64

    _change(copies[1], "environment.json", change)
    environment = reproduce.compare(*copies).environment
    assert environment == ["train.init_from has other weights than in the old run"]


def test_other_data_and_missing_data_are_named_before_training(
    copies: tuple[RunDir, RunDir], tmp_path: Path
) -> None:
    _change(copies[0], "result.json", lambda v: v.update(fingerprint="abc" + "0" * 61))
    with pytest.raises(RunError, match=r"trained on captchas\d*, abc000000000"):
        reproduce.again(copies[0].workdir, tmp_path / "again", None)
    with pytest.raises(RunError, match="--data"):
        reproduce.again(copies[1].workdir, tmp_path / "again", "/nowhere")
    assert not (tmp_path / "again").exists()


def test_data_that_were_moved_are_used_for_a_run_in_the_folder_that_is_named(
    copies: tuple[RunDir, RunDir],
    captchas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = copies
    trained_on: list[Config] = []

    def train_again(config: Config, workdir: Path) -> None:
        trained_on.append(config)
        shutil.copytree(new.workdir, workdir)

    monkeypatch.setattr(train, "train_and_evaluate", train_again)
    _change(old, "config.json", lambda values: values["data"].update(dir="/nowhere"))
    moved, again = tmp_path / "moved", tmp_path / "again"
    shutil.copytree(captchas, moved)
    status, _, err = call(capsys, "reproduce", old.workdir, "--workdir", again)
    assert (status, trained_on) == (2, [])
    assert "is not at /nowhere; give its folder with --data" in err
    status, out, _ = call(capsys, "reproduce", old.workdir, "--data", moved, "--workdir", again)
    assert status == 0
    assert "the parameters are bit-identical" in out
    assert (again / "result.json").exists()
    (config,) = trained_on
    there = config_lib.to_dict(new.config())
    assert config_lib.to_dict(config) == config_lib.with_changes(there, {"data.dir": str(moved)})


def test_a_record_of_another_version_names_its_commit(
    copies: tuple[RunDir, RunDir], tmp_path: Path
) -> None:
    _change(copies[0], "config.json", lambda values: values["model"].pop("dropout"))
    _change(copies[0], "environment.json", lambda values: values.update(commit="c" * 40))
    with pytest.raises(RunError, match=r"no value for model\.dropout.*commit cccc"):
        reproduce.again(copies[0].workdir, tmp_path / "again", None)


def test_an_unfinished_run_cannot_be_reproduced(
    copies: tuple[RunDir, RunDir], tmp_path: Path
) -> None:
    (copies[0].workdir / "result.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        reproduce.again(copies[0].workdir, tmp_path / "again", None)
    assert not (tmp_path / "again").exists()
